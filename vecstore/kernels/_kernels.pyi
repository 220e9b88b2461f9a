"""Hot loops: single-threaded, and they release the GIL but to prepare a single query or decode ids.

Shapes  N rows, Q queries, D dimensions, B bytes of a row's codes. Arrays must be C-contiguous and
little-endian; a wrong type raises TypeError, a wrong shape or row ValueError. `variant` is one
of `variants()`; None is the fastest. All variants return the same bits.
"""

from collections.abc import Sequence

from vecstore.kernels._cascade import Listed as Listed
from vecstore.kernels._cascade import Plan as Plan
from vecstore.kernels._cascade import Reading as Reading
from vecstore.kernels._cascade import Target as Target
from vecstore.kernels._cascade import cascade as cascade
from vecstore.kernels._maxsim import MaxSim as MaxSim
from vecstore.kernels._maxsim import Postings as Postings
from vecstore.kernels._maxsim import id_tables as id_tables
from vecstore.kernels._maxsim import maxsim_floats as maxsim_floats
from vecstore.kernels._maxsim import maxsim_ids as maxsim_ids
from vecstore.kernels._maxsim import maxsim_octets as maxsim_octets
from vecstore.kernels._maxsim import maxsim_rows as maxsim_rows
from vecstore.kernels._sets import coverage_order as coverage_order
from vecstore.kernels._sets import ward_clusters as ward_clusters
from vecstore.types import (
    Array,
    Float32,
    Float64,
    Int8,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
)

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
            keep: 1 to 2**32 - 1. Order: score descending, then row ascending.
        """

    def scan_lists(
        self, offsets: Uint64, order: Uint32, probes: Int64, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the best `keep` rows of some inverted lists and their scores, for each query.

        Args:
            offsets: [C + 1], ascending, at most N; list l holds the positions
                [offsets[l], offsets[l + 1]) of the codes.
            order: [N], the row at each position; what is beyond N - 1 is passed over.
            probes: [Q, P], the lists of each query, none twice; -1 at the end for none.
            allowed: as in `scan`, by row.
            keep: 1 to 2**32 - 1. Order: score descending, then row ascending.
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
    shift: Float32 | None = None,
) -> Scorer:
    """Rows of one byte a dimension, scored by exact integer products.

    d = code . query; then in float32: v = float(2 d + bias) * step, v = v * scale[row],
    v = v + shift[row] * weight, v = v + offset, and with norm: v = (v + v) - (norm[row] + query
    norm).

    Args:
        codes: [N, B].
        digits: [Q, 2, B], high and low: a query integer is 128 high + low.
        factors: [Q, 4]: bias (a whole number), step, offset, query norm; with shift [Q, 5]: then
            its weight.
        scale: [N], or None for 1.
        norm: [N] squared lengths for l2, or None.
        shift: [N], or None for 0.
    """

def nibbles(
    codes: Uint8,
    digits: Int8,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    variant: str | None = None,
    shift: Float32 | None = None,
) -> Scorer:
    """As `octets`, for rows of two dimensions a byte.

    Args:
        digits: [Q, 2, B]: what the low, and what the high nibbles are multiplied with.
    """

def packed(
    codes: Uint8,
    tables: Uint8,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    variant: str | None = None,
) -> Scorer:
    """As `octets`, for two indices a byte: d is a sum of table entries, two for each byte.

    N is the length of scale or norm, or all rows that there is room for.

    Args:
        codes: [ceil(N / 16), B, 16], 16 rows interleaved byte by byte; B a multiple of 4.
        tables: [Q, 2 * B, 16]: what each low nibble adds, then what each high nibble adds; the
            two of a byte at most 255 together. Where those of bytes 16 i + j, 16 i + j + 4,
            16 i + j + 8 and 16 i + j + 12, j < 4, are too, a scan is faster.
    """

def looked_up(
    codes: Uint8,
    tables: Uint8,
    factors: Float64,
    scale: Float32 | None,
    norm: Float32 | None,
    variant: str | None = None,
) -> Scorer:
    """As `packed`, for an index a byte: d is a sum of B table entries.

    Args:
        codes: [ceil(N / 64), B, 64], 64 rows interleaved byte by byte.
        tables: [Q, B, 256]: what each value of a byte adds.
    """

def products(vectors: Float32, books: Float32, variant: str | None = None) -> Float32:
    """Multiply the parts of vectors [N, M * S] with codebooks [M, S, K]: [N, M, K].

    Sums of float32 start at zero and add one of the S dimensions after the other.
    """

def table_queries(
    queries: Float32, rotation: Float32 | None, books: Float32, variant: str | None = None
) -> tuple[Uint8, Float64]:
    """Round the products of queries [Q, D] with codebooks to integers of eight bits.

    Products as above; of each its codebook's least is taken off, and the step of a query lets
    what a byte of codes adds, one entry or two, reach 255 at most.

    Args:
        queries: multiplied with the rotation first, where there is one.
        rotation: [D, P], or None: P is D.
        books: [M, S, K], K = 256, or 16 and M even. M * S = P: each has its part of a query;
            S = P: each has all of it.

    Returns:
        tables as `looked_up` (K = 256) or `packed` takes them, where the first of two codebooks
        is looked up with the low half of a byte, and factors [Q, 4].
    """

def nearest(vectors: Float32, books: Float32, bias: Float32, variant: str | None = None) -> Uint8:
    """Return the column [N, M] of each codebook whose product plus bias [M, K] is largest.

    Products as above; the first column where several are equal. K is 16, 32, ... or 256.
    """

def nearest_octets(
    vectors: Int8, centroids: Uint8, bias: Int32, variant: str | None = None
) -> Uint16:
    """Return the centroid [N] whose product with each of vectors [N, D] plus bias is largest.

    The first one where several are equal. Sums are of integers, and exact.

    Args:
        vectors: D at most 32,768.
        centroids: octets [K, D], K at most 65,536. They may count from 128, as that adds as much
            to all products of a vector.
        bias: [K], 2^30 at most.
    """

def sum_octets(octets: Uint8, ids: Uint16, size: int, variant: str | None = None) -> Uint32:
    """Return the sums [size, D] of octets [N, D] of each id [N]; N at most 2^24, size 65,536."""

def signs(
    codes: Uint8,
    signs: Uint8,
    lengths: Float32,
    table: Float32,
    scale: Float32 | None,
    l2: bool,
    variant: str | None = None,
) -> Scorer:
    """Rows of one bit a dimension, scored by how many bits differ from those of a query.

    In float32: v = table[differing bits] * length, v = v * scale[row], and with l2:
    v = (v + v) - (scale[row] * scale[row] + length * length).

    Args:
        codes: [N, B], B a multiple of 8.
        signs: [Q, B].
        lengths: [Q].
        table: [8 B + 1].
        scale: [N], or None for 1; not None with l2.
    """

def total(
    terms: Sequence[Scorer],
    gains: Sequence[Float32 | None],
    norm: Float32 | None,
    norms: Float32 | None,
) -> Scorer:
    """What scorers of the same rows, queries and variant give, added up.

    In float32: v is what the first gives; then for each other one v = v + what it gives,
    v = v * gain[row]; and with norm: v = (v + v) - (norm[row] + norms[query]).

    Args:
        terms: at least one; none of them a total.
        gains: [N] or None for 1, for each; None for the first.
        norm: [N] squared lengths for l2, or None.
        norms: [Q], of the queries; None without norm.
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

def packed_asked(queries: Float32, signs: Float32, bits: int, variant: str | None = None) -> Scorer:
    """What `packed` makes of `packed_queries`, of no rows: queries for a cascade."""

def unit_lengths(vectors: Float32) -> tuple[Float32, Float64]:
    """Bring vectors [N, D] to unit length, zeros to zeros.

    Computes in float64, in order of d, so that neither the largest nor the smallest values are
    lost; rounds to float32 at the end.

    Returns:
        The vectors, and their squared lengths [N]: finite if and only if all values are.
    """

def unit_query(query: object, dim: int) -> tuple[Float32, float] | None:
    """Bring one vector [dim] to unit length, as `unit_lengths` does.

    Returns:
        The vector [1, dim], and its squared length; None where it is no float32 array of that
        shape, or a value is not finite.
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

def decode_ids(offsets: Uint64, data: Uint8, rows: Int64, longest: int) -> list[int | str] | None:
    """Decode the encoded ids that some rows of byte strings hold.

    Args:
        offsets: [N + 1]; row i is data[offsets[i] : offsets[i + 1]].
        data: [B].
        rows: of the ids.
        longest: bytes of UTF-8 that an id may have.

    Returns:
        The ids; None where a row or its bounds lie outside, or no id has its bytes.
    """

def read_pages(data: Uint8) -> None:
    """Have every page of mapped bytes [B] in memory, and let other threads run meanwhile.

    What holds the interpreter while it reads a page that is not there holds up all threads.
    """
