"""What `_kernels` has for whole searches: stubs alone, of a module that does not exist.

As `_kernels.pyi`: N rows, Q queries; C inverted lists.
"""

from collections.abc import Callable, Sequence

from vecstore.kernels._kernels import Scorer
from vecstore.types import Float32, Int64, Uint16, Uint32, Uint64

class Reading:
    """The rows of a scorer, whatever its queries, and how far scores may be off.

    Args:
        scorer: scores N rows.
        sigmas: half the width of a bound is sigmas * |query| * error[row], sigmas * |query| being
            rounded to float32 first; None: not known.
        error: [N] as bfloat16, the upper 16 bits of a float32; None: zeros.
    """

    def __init__(self, scorer: Scorer, sigmas: float | None, error: Uint16 | None) -> None: ...
    def unbounded(self) -> Reading:
        """Return the same scores, of which it is not known how far they may be off."""
    def at(self, positions: Uint32) -> Reading:
        """Return the same for codes of which those of row i lie at positions[i], [N]."""

class Listed:
    """How codes lie in the order of inverted lists.

    Args:
        centroids: the codes of C centroids.
        offsets: as in `Scorer.scan_lists`.
        order: as in `Scorer.scan_lists`.
    """

    def __init__(self, centroids: Reading, offsets: Uint64, order: Uint32) -> None: ...
    def probes(self, queries: Scorer, nprobe: int, allowed: Uint64 | None) -> Int64:
        """Return the lists that each query visits, [Q, P], -1 at the end of those that visit fewer.

        They are the best `nprobe` by the scores of centroids, in any order, where all rows may be
        found or nearly all. Else a list counts by its share of the allowed rows, at most 1: twice
        how many it has, in those that it would have if all lists had as many for their size. Lists
        without any are passed over, and the others visited, best first, until both hold:

        - they count as many as `nprobe`,
        - the last scores as far below the first as it does without a filter: below the one with
          which they count nprobe / 16, at least 1, by the difference that there is between the
          list of that rank and that of rank nprobe.

        All with allowed rows are visited where the best `nprobe` count less than a quarter of that.

        Args:
            queries: Q of them for the codec of the centroids, with whichever rows.
            nprobe: at least 1.
            allowed: as in `Scorer.scan_lists`.
        """

class Target:
    """What a cascade reads of one source, whatever the queries.

    Args:
        scan: what the scan reads.
        rescore: what the rescore reads, of the same rows; None where there is none.
        rows: N; readings may have room for more.
        allowed: as in `Scorer.scan`.
        lists: of the codes that the scan reads, where they are in the order of lists. Without,
            the scan reads codes that lie at positions one by one, those of allowed rows only.
        queries: which of the scorers given to `cascade` have the queries for the scan, and for
            the rescore.
    """

    def __init__(
        self,
        scan: Reading,
        rescore: Reading | None,
        rows: int,
        allowed: Uint64 | None,
        lists: Listed | None = None,
        queries: tuple[int, int] = (0, 0),
    ) -> None: ...

class Plan:
    """The stages of a cascade: a scan, and at most one rescore.

    Args:
        keep: candidates that the scan hands on.
        limit: candidates that the rescore hands on, at most `keep`; 0: there is no rescore.
        first: where errors are bounded, candidates that the rescore reads first, at least `limit`.
        few: so few candidates are read at once, whatever their bounds.
        cut_share: how much of the largest bound could lift a row that the scan cut off.
        nprobe: lists that the scan visits of targets that have lists; 0: all rows.
    """

    def __init__(
        self, keep: int, limit: int, first: int, few: int, cut_share: float, nprobe: int = 0
    ) -> None: ...

def cascade(
    targets: list[Target],
    plan: Plan,
    queries: list[Scorer],
    touches: Sequence[Callable[[Int64], object] | None],
    scanned: Sequence[tuple[int, list[tuple[Int64, Float32]]]] | None,
) -> tuple[Int64, Int64, Float32, list[int], list[bool], list[int]]:
    """Run a cascade for all queries, as `vecstore.search.cascade` and its stages do.

    Args:
        targets: at least one. Seqs ascend from one to the next, and with the rows of each, which
            decides between equal scores.
        plan: the stages.
        queries: the same Q queries for each codec, with whichever rows.
        touches: for each target what is called with positions before a rescore reads them; None
            where nothing is to be verified.
        scanned: what scans found, each of a span of a target: the position of the target, and
            what `Scorer.scan` returned. None: all is scanned here.

    Returns:
        The positions of targets [n], rows [n] and scores [n] that were found, best first, query
        after query; where those of each query end [Q]; for which queries the scan may have cut
        off a row that belongs among them [Q]; and how many rows the scan handed on [Q].
    """
