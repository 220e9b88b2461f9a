"""What `_kernels` has for the vectors of one record: stubs alone, of a module that does not exist.

Shapes  t vectors of a record, n points.
"""

from vecstore.types import Float32, Uint32

def ward_clusters(products: Float32, sizes: Float32, clusters: int) -> Uint32:
    """Put vectors into clusters whose means they are near to: Ward's method.

    Ward, "Hierarchical grouping to optimize an objective function", 1963: of all pairs of clusters
    those become one whose squared distances to the mean grow least. Distances are float32; of equal
    ones those found first, along chains of nearest neighbours, go first.

    Args:
        products: inner products [t, t] of the vectors with each other; those above the diagonal are
            not read.
        sizes: how many vectors each is the mean of, [t], at least 1.
        clusters: 1 to t.

    Returns:
        the cluster of each vector [t], numbered in the order of their first vectors.
    """

def coverage_order(scores: Float32) -> Uint32:
    """Put vectors in an order in which the first ones, however many, score best with the points.

    Each is the one, of those left, that adds most to the sum over the points of the largest score
    so far, the first of several; the sum counts from the least score of each point.

    Args:
        scores: [t, n], of each vector with each point.

    Returns:
        the vectors [t], as numbers of rows.
    """
