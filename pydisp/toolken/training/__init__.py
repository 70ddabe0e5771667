"""Training of toolkens for a frozen model, in the order in which it runs.

positions      the labels at which rows learn
logit_form     what the model does to the products of its head
array_cache    arrays on disk that a pass over the model fills, and that a stopped one goes on with
features       the first pass: hidden states and log-sum-exp of all words
coordinates    a linear change of variables in which rows learn fast
fitting        AdamW with an early stop
rows           the first rows
second_pass    the second pass: states after the documentation of the best tools
rerank         the second rows
calibration    temperature and threshold
training       all of it: `train`
uncached       the plain definition, for comparison
"""
