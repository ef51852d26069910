"""The API of Adobe Learning Manager (ALM), version 2: no files, no environment, no formats."""
