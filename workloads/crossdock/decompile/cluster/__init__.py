"""The ranks of a job side by side: started with a dump each, gathered, compared.

What is compared is text that any rank would have; where ranks part, the user's line is named.
"""
