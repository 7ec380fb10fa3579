"""Data sets that tell the order of events and no times, as sequential recommenders take them."""

from fedjax_rec.data.named import AMAZON_TERMS, DataSet

_SASREC = (
    "Wang-Cheng Kang and Julian McAuley. 2018. Self-Attentive Sequential Recommendation. ICDM "
    "2018. https://doi.org/10.1109/ICDM.2018.00035"
)
_BERT4REC = (
    "Fei Sun et al. 2019. BERT4Rec: Sequential Recommendation with Bidirectional Encoder "
    "Representations from Transformer. CIKM 2019. https://doi.org/10.1145/3357384.3357895"
)
_S3REC = (
    "Kun Zhou et al. 2020. S3-Rec: Self-Supervised Learning for Sequential Recommendation with "
    "Mutual Information Maximization. CIKM 2020. https://doi.org/10.1145/3340531.3411954"
)
_YELP_TERMS = "derived from the Yelp data set: academic use, please cite, no redistribution"
_LASTFM_TERMS = (
    "derived from Last.fm data of HetRec 2011: research use, please cite, no commercial use and no "
    "redistribution"
)


def _pairs(
    name: str, member: str, what: str, counts: tuple[int, int, int], digest: str, citation: str
) -> DataSet:
    """A file of the layout `pairs`, in the folder `sasrec`."""
    return DataSet(
        name=name,
        summary=f"{what}; order without times",
        statistics=dict(zip(("users", "items", "events"), counts, strict=True)),
        wheel=None,
        citation=citation,
        terms=AMAZON_TERMS,
        folder="sasrec",
        member=member,
        layout="pairs",
        files={f"{member}.gz": digest},
    )


def _sequences(
    name: str, member: str, what: str, counts: tuple[int, int, int], digest: str, terms: str
) -> DataSet:
    """A file of the layout `sequences`, in the folder `s3rec`."""
    return DataSet(
        name=name,
        summary=f"{what} of S3-Rec; order without times",
        statistics=dict(zip(("users", "items", "events"), counts, strict=True)),
        wheel=None,
        citation=_S3REC,
        terms=terms,
        folder="s3rec",
        member=member,
        layout="sequences",
        files={f"{member}.gz": digest},
    )


SEQUENCE_SETS = (
    _pairs(
        "beauty",
        "beauty.txt",
        "Amazon Beauty of SASRec and BERT4Rec",
        (40_226, 54_542, 353_962),
        "a39be59ab2a64e24c259f372fc74d5bec69d549b62e67608d8e4712a6141b572",
        f"{_SASREC} {_BERT4REC}",
    ),
    _pairs(
        "sasrec-video",
        "Video.txt",
        "Amazon Video Games of SASRec",
        (31_013, 23_715, 287_107),
        "d1d700c3a1d5cf3f5c3b0a108c61179c5f24114f15d665e49b8ed6a53e463712",
        _SASREC,
    ),
    _sequences(
        "s3rec-beauty",
        "Beauty.txt",
        "Amazon Beauty",
        (22_363, 12_101, 198_502),
        "d90327e98288647f5bae59c0dba82e153af2d940eafb7540f4b05185e108d0fe",
        AMAZON_TERMS,
    ),
    _sequences(
        "s3rec-toys",
        "Toys_and_Games.txt",
        "Amazon Toys and Games",
        (19_412, 11_924, 167_597),
        "0bd73bdefb52da7dbfb3913e050fc15455ddaa0b98a7cf7049ee21585a5d0936",
        AMAZON_TERMS,
    ),
    _sequences(
        "s3rec-yelp",
        "Yelp.txt",
        "Yelp, with 11,830 repeat visits,",
        (30_431, 20_033, 316_354),
        "a81963e5a94fd772d64b1d240154674fc64ebbc4c46cfd2d85cd80b90d44cf10",
        _YELP_TERMS,
    ),
    _sequences(
        "s3rec-lastfm",
        "LastFM.txt",
        "Last.fm, up to 899 artists a user,",
        (1_090, 3_646, 52_551),
        "feee892bd0c0def1c7ad403a7b44c78ac1268c0f2f0787e01efabb42854c339e",
        _LASTFM_TERMS,
    ),
)
