"""Which of several points are not beaten: none is both cheaper and better than another on the front."""


def front(points) -> list[int]:
    """Indices of the points on the Pareto front, in the order of their cost.

    Args:
        points: `[(cost, score)]`; less cost and more score are better. Of equal points each is on the front.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    found = []
    for i in order:
        if not found or points[i][1] > points[found[-1]][1] or points[i] == points[found[-1]]:
            found.append(i)
    return found
