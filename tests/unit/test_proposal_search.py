"""What counts as confirmed, with a judge and proposals that are told what to say."""

from types import SimpleNamespace

import numpy as np
import pytest

from inversefacenet.dlib_models import DlibModels
from inversefacenet.face_proposals import FaceProposals, Proposal
from inversefacenet.proposal_search import MARGIN_SHIFT, PATCHES, ProposalSearch

PHOTO = np.full((400, 600, 3), 90, np.uint8)


class Rectangle(SimpleNamespace):
    """Edges as dlib gives them: the last pixel's."""

    def left(self):
        return self.x0

    def top(self):
        return self.y0

    def right(self):
        return self.x1 - 1

    def bottom(self):
        return self.y1 - 1


class Judge(DlibModels):
    """Sees a face in the middle of each patch, with the margins that it is told, in turn."""

    def __init__(self, *margins: float) -> None:
        super().__init__()
        self.margins = list(margins)
        self.asked: list[tuple[int, float]] = []

    def frontal(self):
        return self

    def run(self, patch, times, threshold):
        self.asked.append((patch.shape[0], threshold))
        margin = self.margins.pop(0)
        middle, half = patch.shape[0] // 2, 37
        box = Rectangle(x0=middle - half, y0=middle - half, x1=middle + half, y1=middle + half)
        return ([box], [margin], [0]) if margin >= threshold else ([], [], [])


class Told(FaceProposals):
    """Proposes the same whatever the photo."""

    def __init__(self, *proposals: Proposal) -> None:
        super().__init__()
        self.told = list(proposals)

    def load(self) -> None:
        pass

    def propose(self, image, *, area=0, least_logit=-1.0):
        return [one for one in self.told if one.logit > least_logit]


def searched(judge: Judge, *proposals: Proposal, faces: str = "largest") -> list:
    return ProposalSearch(judge, Told(*proposals)).search(PHOTO, faces=faces, minimum_size=20.0)


def test_box_and_margin_are_those_of_the_photo():
    judge = Judge(1.0)
    (found,) = searched(judge, Proposal(300.0, 200.0, 148.0, 2.0))
    assert found.box == pytest.approx((226.0, 126.0, 374.0, 274.0))
    assert found.score == pytest.approx(1.0 + MARGIN_SHIFT)
    assert judge.asked == [(PATCHES[0][0], pytest.approx(-MARGIN_SHIFT))]


def test_a_second_patch_is_asked():
    judge = Judge(-1.0, 0.5)
    (found,) = searched(judge, Proposal(300.0, 200.0, 100.0, 2.0))
    assert [side for side, _ in judge.asked] == [side for side, _ in PATCHES]
    assert found.score == pytest.approx(0.5 + MARGIN_SHIFT)


def test_unlikely_proposals_need_a_clearer_judgement():
    judge = Judge(0.2)
    assert searched(judge, Proposal(300.0, 200.0, 100.0, -1.2)) == []
    assert len(judge.asked) == 1
    assert searched(Judge(0.2), Proposal(300.0, 200.0, 100.0, 0.5))
    assert searched(Judge(0.4), Proposal(300.0, 200.0, 100.0, -1.2))


def test_weak_ones_alone_are_for_the_full_search():
    assert searched(Judge(-0.1), Proposal(300.0, 200.0, 100.0, 0.3)) == []
    assert len(searched(Judge(-0.1), Proposal(300.0, 200.0, 100.0, 1.0))) == 1
    weak, clear = Proposal(150.0, 200.0, 120.0, 1.0), Proposal(450.0, 200.0, 90.0, 1.0)
    (found,) = searched(Judge(-0.1, 1.0), weak, clear)
    assert found.box[0] == pytest.approx(405.0)


def test_the_largest_is_asked_about_first_and_alone():
    small, large = Proposal(150.0, 200.0, 60.0, 3.0), Proposal(450.0, 200.0, 90.0, 1.5)
    judge = Judge(1.0)
    (found,) = searched(judge, small, large)
    assert found.width == pytest.approx(90.0)
    # One that is far less likely than another isn't asked about, unless all are wanted.
    judge = Judge(1.0)
    (found,) = searched(judge, small, Proposal(450.0, 200.0, 90.0, 0.9))
    assert found.width == pytest.approx(60.0)
    both = searched(Judge(1.0, 1.0, 1.0, 1.0), small, Proposal(450.0, 200.0, 90.0, 0.9), faces="all")
    assert sorted(one.width for one in both) == pytest.approx([60.0, 90.0])
