"""WikiText-2 (Merity et al. 2017): articles of Wikipedia, one paragraph a line, 33,278 words.

The EGRU paper (section 5.3) takes over its setting of Penn Treebank. Empty lines are lines, which end with `<eos>`.
"""

from benchmarks.tasks.text_files import TextFiles


class WikiText2(TextFiles):
    name = "wikitext2"
    summary = "WikiText-2, the next word of 33,278; files wiki.{train,valid,test}.tokens (EGRU paper)"
    title = "WikiText-2"
    folder = "wikitext-2"
    files = ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens")
    words = (2_088_628, 217_646, 245_569)
