"""B-Tuning: fine-tune a pre-trained model with the best of others as teachers.

You, Liu, Wang, Jordan and Long, "Ranking and Tuning Pre-trained Models: A New Paradigm for
Exploiting Model Hubs", JMLR 23 (2022).
"""
