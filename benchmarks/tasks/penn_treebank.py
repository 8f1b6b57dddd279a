"""Penn Treebank (Marcus et al. 1993) as Mikolov et al. (2010) prepared it: 10,000 words, one sentence a line.

The EGRU paper's setting (section 5.3) has three layers of 1350, 1350 and 750 units and the regularisation of
AWD-LSTM (Merity et al. 2018). The text is not free.
"""

from benchmarks.tasks.text_files import TextFiles


class PennTreebank(TextFiles):
    name = "ptb"
    summary = "Penn Treebank, the next word of 10,000; files ptb.{train,valid,test}.txt (EGRU paper)"
    title = "Penn Treebank"
    folder = "ptb"
    files = ("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt")
    words = (929_589, 73_760, 82_430)
