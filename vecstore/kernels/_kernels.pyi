"""Hot loops: single-threaded, and they release the GIL.

Shapes  N rows, Q queries, D dimensions, B bytes of a row's codes. Arrays must be C-contiguous and
little-endian; a wrong type raises TypeError, a wrong shape or row ValueError. `variant` is one
of `variants()`; None is the fastest. All variants return the same bits.
"""

from vecstore.types import Array, Float32, Float64, Int8, Int64, Uint8, Uint32, Uint64

class Scorer:
    """Some queries against the rows of one representation."""

    def scan(
        self, start: int, stop: int, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the best `keep` rows of [start, stop) and their scores, for each query.

        Args:
            start: a multiple of 64.
            stop: at most N.
            allowed: [ceil(N / 64)]; bit i of word w allows row 64 * w + i; None allows all.
            keep: at least 1. Order: score descending, then row ascending.
        """

    def scan_lists(
        self, offsets: Uint64, order: Uint32, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the best `keep` rows of some inverted lists and their scores, for each query.

        Args:
            offsets: [C + 1], ascending, at most N; list l holds the positions
                [offsets[l], offsets[l + 1]) of the codes.
            order: [N], the row at each position; what is beyond N - 1 is passed over.
            probes: [Q, P], the lists of each query, none twice.
            allowed: as in `scan`, by row.
            keep: at least 1. Order: score descending, then row ascending.
        """

    def score(self, query: int, rows: Int64) -> Float32:
        """Return the scores of given rows against one query."""

def variants() -> list[str]:
    """Return the names of the instruction sets that this machine supports, slowest first."""

def flat(values: Array, queries: Float32, l2: bool, variant: str | None = None) -> Scorer:
    """Float rows [N, D] of float32 or float16; queries [Q, D].

    Sixteen partial sums, dimension d to sum d % 16, then added pairwise: i + (i + 8),
    i + (i + 4), i + (i + 2), i + (i + 1).
    """

def octets(
    codes: Uint8,
    digits: Int8,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    variant: str | None = None,
) -> Scorer:
    """Rows of one byte a dimension, scored by exact integer products.

    d = code . query; then in float32: v = float(2 d + bias) * step, v = v * scale[row],
    v = v + offset, and with norm: v = (v + v) - (norm[row] + query norm).

    Args:
        codes: [N, B].
        digits: [Q, 2, B], high and low: a query integer is 128 high + low.
        factors: [Q, 4]: bias (a whole number), step, offset, query norm.
        scale: [N], or None for 1.
        norm: [N] squared lengths for l2, or None.
    """

def nibbles(
    codes: Uint8,
    digits: Int8,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    variant: str | None = None,
) -> Scorer:
    """As `octets`, for rows of two dimensions a byte.

    Args:
        digits: [Q, 2, B]: what the low, and what the high nibbles are multiplied with.
    """

def packed(
    codes: Uint8,
    tables: Uint8,
    factors: Float64,
    scale: Float32,
    norm: Float32 | None,
    variant: str | None = None,
) -> Scorer:
    """As `octets`, for 1- and 2-bit rows: d is a sum of table entries, two for each byte.

    Args:
        codes: [ceil(N / 16), B, 16], 16 rows interleaved byte by byte; B a multiple of 8.
        tables: [Q, 2 * B, 16]: what each low nibble adds, then what each high nibble adds; the
            two of a byte at most 255 together. Where those of bytes 16 i + j, 16 i + j + 4,
            16 i + j + 8 and 16 i + j + 12, j < 4, are too, a scan is faster.
    """

def packed_queries(
    queries: Float32, signs: Float32, bits: int, variant: str | None = None
) -> tuple[Uint8, Float64]:
    """Rotate queries [Q, D] as `rotate` does, and prepare them for rows of 1 or 2 bits.

    Rounds each rotated query to integers at the finest step that lets what bytes of codes add
    fit eight bits together: each byte alone (2 bits), or the four that `packed` names (1 bit).

    Returns:
        tables [Q, 2 * B, 16], B = P * bits / 8, and factors [Q, 4], as `packed` takes them.
    """

def rotate(vectors: Float32, signs: Float32, variant: str | None = None) -> Float32:
    """Rotate vectors [N, D] to [N, P]; signs is [rounds, P] of +1 and -1, P a multiple of 64.

    In each round: multiply by the signs; Walsh-Hadamard transform of the first (even rounds) or
    last (odd rounds) 2^floor(log2 P) values, in order of distance 1, 2, 4, ..., then scaled; and
    if that is not all of them, i and i + P / 2 become (sum, difference) / sqrt(2).
    """

def unrotate(rotated: Float32, signs: Float32, dim: int, variant: str | None = None) -> Float32:
    """Undo `rotate`: [N, P] to [N, dim]."""

def quantize(rotated: Float32, bits: int, variant: str | None = None) -> tuple[Uint8, Float32]:
    """Round rotated vectors [N, P] to integers c of `bits` bits.

    Returns:
        codes [N, P], one a byte, and factors [N, 3]: scale |x|^2 / (x . y), the standard
        deviation |x| tan(x, y) / sqrt(P - 1) of a unit query's estimate, and |x|^2, where y is
        c - (2^bits - 1) / 2. Rows of zeros have factors 0.
    """

def read_pages(data: Uint8) -> None:
    """Have every page of mapped bytes [B] in memory, and let other threads run meanwhile.

    What holds the interpreter while it reads a page that is not there holds up all threads.
    """
