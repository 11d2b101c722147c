"""How far what the model gets and answers is from its baseline."""
