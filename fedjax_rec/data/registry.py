"""The data sets known by name."""

from fedjax_rec.data.more_sets import MORE_SETS
from fedjax_rec.data.named import (
    AMAZON_TERMS,
    GROUPLENS_CITATION,
    GROUPLENS_TERMS,
    DataSet,
    Wheel,
)
from fedjax_rec.data.sequence_sets import SEQUENCE_SETS

__all__ = ["DATASETS", "DataSet", "Wheel"]

_NCF_CITATION = (
    "Xiangnan He, Lizi Liao, Hanwang Zhang, Liqiang Nie, Xia Hu and Tat-Seng Chua. 2017. Neural "
    "Collaborative Filtering. WWW 2017. https://doi.org/10.1145/3038912.3052569"
)
_PFEDREC_CITATION = (
    "Chunxu Zhang et al. 2023. Dual Personalization on Federated Recommendation. IJCAI 2023. "
    "https://doi.org/10.24963/ijcai.2023/507"
)
_DISENCDR_CITATION = (
    "Jiangxia Cao, Xixun Lin, Xin Cong, Jing Ya, Tingwen Liu and Bin Wang. 2022. DisenCDR: "
    "Learning Disentangled Representations for Cross-Domain Recommendation. SIGIR 2022. "
    "https://doi.org/10.1145/3477495.3531967"
)


ML_100K = DataSet(
    name="ml-100k",
    summary="MovieLens 100K: 943 people's ratings of 1,682 films, 1997-1998",
    statistics={"users": 943, "items": 1682, "events": 100_000},
    wheel=Wheel(
        requirement="recbole==1.2.1",
        package="recbole",
        folder="dataset_example/ml-100k",
        file="recbole-1.2.1-py3-none-any.whl",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    ),
    citation=GROUPLENS_CITATION,
    terms=GROUPLENS_TERMS,
)

ML_1M = DataSet(
    name="ml-1m",
    summary="MovieLens 1M: 6,040 people's ratings of 3,706 films, 2000-2003",
    statistics={"users": 6040, "items": 3706, "events": 1_000_209},
    wheel=None,
    citation=GROUPLENS_CITATION,
    terms=GROUPLENS_TERMS,
    files={
        "ratings.dat.gz": "aa50c4b66874161b327e817d105c2bd8407eb00cc1f2c598aac865cc7e4e2f89",
        "movies.dat.gz": "0c4c296ce1204c20abb1508530260817acb42b9e6146769a116fbd47a1fb0cc4",
    },
)

ML_LATEST_SMALL = DataSet(
    name="ml-latest-small",
    summary="MovieLens Latest Small: 610 people's ratings, 1996-2018; for development",
    statistics={"users": 610, "items": 9724, "events": 100_836},
    wheel=None,
    citation=GROUPLENS_CITATION,
    terms=GROUPLENS_TERMS,
    files={
        "ml-latest-small.zip": "2289661b1ff7b5496d4835180a3875a2106b626892babb84e18d3c355ec2fa76"
    },
)

ML_1M_2999 = DataSet(
    name="ml-1m-2999",
    summary="the first 2,999 people of MovieLens 1M, of whom every time is known",
    statistics={"users": 2999, "items": 3615, "events": 487_650},
    wheel=None,
    citation=GROUPLENS_CITATION,
    terms=GROUPLENS_TERMS,
    folder="ml-1m",
    member="ratings.users1-2999.dat",
    layout="movielens_dat",
    files={
        "ratings.users1-2999.dat.gz": (
            "d1f92c6a9a76653e3192d6a5727d384f11f5be3ed0076002a7fd6150dc0de593"
        ),
        "movies.dat.gz": "0c4c296ce1204c20abb1508530260817acb42b9e6146769a116fbd47a1fb0cc4",
    },
)

NCF_ML_1M = DataSet(
    name="ncf-ml-1m",
    summary="MovieLens 1M with the hold-out and the 99 candidates of the NCF paper, by file",
    statistics={"users": 6040, "items": 3706, "events": 1_000_209},
    wheel=None,
    citation=f"{GROUPLENS_CITATION} {_NCF_CITATION}",
    terms=GROUPLENS_TERMS,
    files={
        "ml-1m.train.rating.gz": "8dfd31f823f915769682be92c656bf3b63c8b8e60ae062d1c81bd1935dd3bc19",
        "ml-1m.test.rating.gz": "8e11ce0957e30adfa934de19395a9c8fde14c60b851222688bf2eb537995afc0",
        "ml-1m.test.negative.gz": (
            "593efd18c323aac9ee3215a13bbbc310b7440f7e200caf38232aaab95b18fc59"
        ),
    },
)

PFEDREC_ML_100K = DataSet(
    name="pfedrec-ml-100k",
    summary="MovieLens 100K as published with PFedRec: the same ratings in another order",
    statistics={"users": 943, "items": 1682, "events": 100_000},
    wheel=None,
    citation=f"{GROUPLENS_CITATION} {_PFEDREC_CITATION}",
    terms=GROUPLENS_TERMS,
    folder="pfedrec/ml-100k",
    files={"ratings.dat.gz": "d8627c383b4ddcaf9818f6e89e6d77bbe11e7bfc605ec6fd34b50b9008ddb7c4"},
)

AMAZON_VIDEO = DataSet(
    name="amazon-video",
    summary="Amazon Video as published with PFedRec: 5 to 277 ratings a user, 2000-2014",
    statistics={"users": 8072, "items": 11830, "events": 63_836},
    wheel=None,
    citation=_PFEDREC_CITATION,
    terms=AMAZON_TERMS,
    folder="pfedrec/amazon",
    files={"ratings.dat.gz": "bcf775e94c5e0b88acb640a1094cbe0bc5f6db042ef572f2f163a4cf9f2da1fa"},
)

LASTFM_2K = DataSet(
    name="lastfm-2k",
    summary="Last.fm of HetRec 2011: how often 1,892 people listened to which artist; no times",
    statistics={"users": 1892, "items": 17632, "events": 92_834},
    wheel=None,
    citation=(
        "Ivan Cantador, Peter Brusilovsky and Tsvi Kuflik. 2011. 2nd Workshop on Information "
        "Heterogeneity and Fusion in Recommender Systems (HetRec 2011). RecSys 2011. "
        "https://doi.org/10.1145/2043932.2044016"
    ),
    terms=(
        "Last.fm data of HetRec 2011: research use, please cite, no commercial use and no "
        "redistribution"
    ),
    folder="hetrec2011-lastfm-2k",
    files={
        "user_artists.dat.gz": "35b77d3256a460aedfac3d4a5c207925c098f58708a7dac2073c003b403ce52a",
        "artists.dat.gz": "d6784b625c6f3bdb73bf75b2d8873300fd4028afc44ba6282804e7e7b983d9bc",
    },
)


def _disencdr(domain: str, other: str, counts: tuple[int, int, int], *digests: str) -> DataSet:
    """One domain of a pair with the same users; its test file is `test.txt`."""
    names = ("train.txt.gz", "test.txt.gz", "test_original.txt.gz")
    return DataSet(
        name=f"disencdr-{domain}-{other}",
        summary=f"Amazon {domain} of DisenCDR: users shared with {other}, hold-out by test.txt",
        statistics=dict(zip(("users", "items", "events"), counts, strict=True)),
        wheel=None,
        citation=_DISENCDR_CITATION,
        terms=AMAZON_TERMS,
        folder=f"disencdr/{domain}_{other}",
        files=dict(zip(names, digests, strict=True)),
    )


DISENCDR = (
    _disencdr(
        "phone",
        "electronic",
        (3325, 18_462, 52_966),
        "687724c83463b9590119052e0e15df6219e27f94cfbadd9a6265cd0ed24e2220",
        "25fab7ba9a980af4ccc9c699c17d33d5e835aea0caffb6ce87e01b847d56b8c3",
        "745f7e22b18ada3aba2c34352af3c0e628cab1827883a07cc83b1331ff94570f",
    ),
    _disencdr(
        "electronic",
        "phone",
        (3325, 39_463, 118_114),
        "52cc44f3f5722dfd896d0dd385e8bd8eaf8147b978a5ca6229ad3378bddf3e72",
        "9a6898ca02b6800f1e0e555cb1a19044e86dc16b157e0328b2f49f3706943a16",
        "4e721810bb89c64ed653c30fe2404e5bc97f4efe53c65f7bff552c02f7fb8243",
    ),
    _disencdr(
        "sport",
        "cloth",
        (9928, 32_310, 100_938),
        "89590cd9f4720fd7dbd3f0f9dfa912b0040961d3bdb51554b2c0b1e6196620b8",
        "8d60cb6d9f990e4435f53c5641a4b9d16a67a9ac2c41d146264c6d41bd390554",
        "b4723cbaf95943d10805fa4e9a2670e6e040e4c09b7fe5a5764e0075c4e6b426",
    ),
    _disencdr(
        "cloth",
        "sport",
        (9928, 41_303, 95_369),
        "56508447d269704e605c361e3446b9e3cbead213301252bdd12308e49fecad83",
        "f36c225c4bc833c9884318a2e3a75bc0ce13c71b01ac09e27f323f9d2f588461",
        "4f28b17894debc43a0d67adb0166634e15cd314a059610c56ec51e2ec6e847e4",
    ),
)


def _both_domains(target: DataSet, other: DataSet) -> DataSet:
    """A domain of a pair, with the other one's events to train on."""
    domain, name = (one.name.split("-")[1] for one in (target, other))
    return DataSet(
        name=f"disencdr-{domain}+{name}",
        summary=f"Amazon {domain} of DisenCDR, with the same users' {name} events to train on",
        statistics=target.statistics,
        wheel=None,
        citation=target.citation,
        terms=target.terms,
        domains=(target.name, other.name),
    )


DISENCDR_PAIRS = tuple(
    _both_domains(DISENCDR[target], DISENCDR[other])
    for target, other in ((0, 1), (1, 0), (2, 3), (3, 2))
)

SYNTHETIC = DataSet(
    name="synthetic",
    summary="generated here, needs no file: any size, calibrated on MovieLens 100K",
    statistics={},
    wheel=None,
)

DATASETS: dict[str, DataSet] = {
    dataset.name: dataset
    for dataset in (
        ML_100K,
        ML_1M,
        ML_1M_2999,
        ML_LATEST_SMALL,
        NCF_ML_1M,
        PFEDREC_ML_100K,
        AMAZON_VIDEO,
        LASTFM_2K,
        *DISENCDR,
        *DISENCDR_PAIRS,
        *SEQUENCE_SETS,
        *MORE_SETS,
        SYNTHETIC,
    )
}
"""Name -> data set."""
