"""Few labels: with none, one, eight or sixty-four labels a class, which method leads?"""
