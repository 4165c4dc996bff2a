"""What does a training record, or a class of them, look like?"""
