"""The loop and what stands around it; knows neither tasks nor modes."""
