"""Similarity of a text to a reference: ROUGE and BLEU, computed by the libraries commonly used to report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nbtools.errors import InputError, MachineError
from nbtools.texts import check_texts
from nbtools.values import checked


@dataclass(frozen=True)
class TextScores:
    """Scores from 0 to 100. ROUGE (Lin, 2004, https://aclanthology.org/W04-1013) is a mean over the texts, BLEU is of the corpus."""

    rouge1: float
    """F1 of shared words."""
    rouge2: float
    """F1 of shared word pairs."""
    rougeL: float  # noqa: N815  (the established name)
    """F1 of the longest common subsequence."""
    bleu: float
    """Precision of n-grams up to four words, with a brevity penalty (Papineni et al., 2002; sacrebleu: Post, 2018)."""
    exact: float
    """Percentage of texts that equal the reference."""

    def __repr__(self) -> str:
        return (
            f"ROUGE-1 {self.rouge1:.1f}, ROUGE-2 {self.rouge2:.1f}, ROUGE-L {self.rougeL:.1f}, BLEU {self.bleu:.1f}, exact {self.exact:.1f}"
        )


@checked()
def score_texts(texts: Sequence[str], references: Sequence[str]) -> TextScores:
    """Compare each text with its reference. Raises InputError for lists of different lengths, MachineError without the libraries."""
    texts, references = check_texts(texts), check_texts(references, "references")
    if len(texts) != len(references) or not texts:
        raise InputError(f"{len(texts)} texts cannot be compared with {len(references)} references.", "Give one reference per text.")
    try:
        import sacrebleu
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise MachineError(f"{error.name} is not installed.", "Run: pip install sacrebleu rouge-score") from None
    kinds = ("rouge1", "rouge2", "rougeL")
    scorer = RougeScorer(kinds, use_stemmer=False)
    rows = [scorer.score(reference, text) for text, reference in zip(texts, references, strict=True)]
    means = {kind: 100 * sum(row[kind].fmeasure for row in rows) / len(rows) for kind in kinds}
    bleu = sacrebleu.corpus_bleu(list(texts), [list(references)]).score
    exact = 100 * sum(text == reference for text, reference in zip(texts, references, strict=True)) / len(texts)
    return TextScores(**means, bleu=bleu, exact=exact)
