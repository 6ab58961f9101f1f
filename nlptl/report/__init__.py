"""The transfer report: was the pretraining worth it?"""
