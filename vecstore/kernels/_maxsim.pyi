"""What `_kernels` has for late interaction: stubs alone, of a module that does not exist.

As `_kernels.pyi`: N are documents here, T tokens, Q queries of n vectors each, K centroids.
"""

from vecstore.kernels._kernels import Scorer
from vecstore.types import Array, Float32, Float64, Int8, Int64, Uint8, Uint64

class MaxSim:
    """Some queries, each of several vectors, against documents, which are runs of tokens.

    A document's score is the sum over the query's vectors of the largest score of its tokens
    (Khattab and Zaharia, ColBERT, section 3.3). Documents begin and end at offsets [N + 1], none
    beyond T; of each the first `budget` tokens are read, or all of them (None).
    """

    def scan(
        self, start: int, stop: int, allowed: Uint64 | None, keep: int
    ) -> list[tuple[Int64, Float32]]:
        """Return the best `keep` documents of [start, stop) and their scores, for each query.

        As `Scorer.scan`, from any start; documents without tokens are not found.
        """

    def score(self, query: int, documents: Int64) -> Float32:
        """Return the scores of given documents against one query; -inf without tokens."""

def maxsim_ids(
    offsets: Uint64,
    budget: int | None,
    ids: Array,
    tables: Uint8,
    factors: Float64,
    variant: str | None = None,
) -> MaxSim:
    """Tokens that are ids of centroids, and what each centroid scores with a query's vectors.

    In float32: score = (sum over columns of the largest entry) * factors[q, 0] + factors[q, 1].

    Args:
        ids: [T] of uint8 or uint16; one beyond K - 1 counts as K - 1.
        tables: [Q, K, n], n a multiple of 32, and factors [Q, 2]: `id_tables`.
    """

def id_tables(centroids: Uint8, queries: Int8, variant: str | None = None) -> tuple[Uint8, Float64]:
    """Score centroids [K, D], octets that count from 128, with queries [Q, n, D], in 256 steps.

    A step is 1/255 of the widest range that a vector of the query finds; entries count from the
    least that each vector finds, and are rounded in float32: half a step off, and the sums of
    documents n / 2 steps, at most (and what float32 loses). Vectors of zeros have entries of 0.

    Returns:
        tables [Q, K, n rounded up to a multiple of 32], and factors [Q, 2] in units of integers'
        products: the step, and the sum of the least.
    """

def maxsim_octets(
    offsets: Uint64,
    budget: int | None,
    codes: Uint8,
    radix: int,
    levels: Uint8,
    ids: Array | None,
    centroids: Uint8 | None,
    inverse: Uint8 | None,
    inverses: Float32 | None,
    queries: Int8,
    steps: Float64,
    variant: str | None = None,
) -> MaxSim:
    """Tokens of a byte a dimension, or of short codes on top of centroids, as integers.

    A byte holds 8, 5, 4, 2 or 1 digits of radix 2, 3, 4, 16 or 256: byte b those of dimensions b,
    b + B, b + 2 B ..., the lowest first; of radix 3 the highest first, of the fraction byte / 256
    (what is v in base 3 is the byte ceil(256 v / 243)). Octets count from 128, sums are modulo 256:
    token[d] = centroids[id][d] + levels[digit d] - 128; with radix 256 token[d] = code[d] - 128.
    In float32: v = (query . token) * inverses[inverse[token]]; the score is the sum of the largest
    v of each vector, in order of the vectors, times the step.

    Args:
        codes: [T, B], B = ceil(D / digits).
        levels: [16], of each digit; not read with radix 256.
        ids: as in `maxsim_ids`; None, and centroids, too: centroids of zeros.
        centroids: [K, D].
        inverse: [T], and inverses [256]; both None: 1.
        queries: [Q, n, D], D at most 4,096, and steps [Q]; vectors of zeros add nothing.
    """

def maxsim_floats(
    offsets: Uint64,
    budget: int | None,
    values: Array,
    queries: Float32,
    variant: str | None = None,
) -> MaxSim:
    """Float tokens [T, D] of float32 or float16, against queries [Q, n, D].

    A token's score is a sum in float32 that starts at zero and adds one dimension after the other;
    the score is the sum of the largest, in order of the vectors. With fewer than eight vectors
    `maxsim_rows` over `flat` is faster.

    Args:
        values: D at most 65,536.
    """

def maxsim_rows(offsets: Uint64, budget: int | None, rows: Scorer) -> MaxSim:
    """Tokens that a scorer of `flat`, `octets`, `nibbles` or `signs` scores.

    Its queries are the vectors of one; their largest are added up in float32, in order. The faster
    way for one vector, which costs `maxsim_octets` as much as 32.
    """

class Postings:
    """Which documents have a token of each centroid: 4 bytes for each such pair.

    Args:
        offsets: [N + 1], as of `MaxSim`.
        ids: [T] of uint8 or uint16; one beyond `size` - 1 counts as `size` - 1.
        size: centroids K.
    """

    nbytes: int

    def __init__(self, offsets: Uint64, ids: Array, size: int) -> None: ...
    def candidates(
        self,
        table: Uint8,
        vectors: int,
        nprobe: int,
        keep: int,
        allowed: Uint64 | None,
        variant: str | None = None,
    ) -> tuple[Uint64, int, int]:
        """Find the documents that a query is likely to find by the centroids of their tokens.

        Of each of the first `vectors` columns, the cut is the largest value that more than `nprobe`
        entries reach, or 0. Centroids above it are opened, and documents that have one of them get
        what the best is above the cut: where none is, the cut is imputed (XTR, Lee et al., NeurIPS
        2023, section 3.2). Those of the largest sums, above 0, are candidates: of equal ones all or
        none, at most `keep` unless more have the largest of all.

        Args:
            table: [K, n], of `id_tables`.
            allowed: bit i of word w is document 64 w + i; None: all are.

        Returns:
            The candidates as such words; how many they are; how many postings were read.
        """
