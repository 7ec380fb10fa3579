"""Data sets without times, or with a split that came with them, as papers have published them."""

from fedjax_rec.data.named import AMAZON_TERMS, GROUPLENS_CITATION, GROUPLENS_TERMS, DataSet

_LIGHTGCN = (
    "Xiangnan He et al. 2020. LightGCN: Simplifying and Powering Graph Convolution Network for "
    "Recommendation. SIGIR 2020. https://doi.org/10.1145/3397271.3401063"
)
_SELFREC = (
    "Junliang Yu et al. 2023. Self-Supervised Learning for Recommender Systems: A Survey. IEEE "
    "TKDE. https://doi.org/10.1109/TKDE.2023.3282907"
)
_LETTER = (
    "Wenjie Wang et al. 2024. Learnable Item Tokenization for Generative Recommendation. CIKM "
    "2024. https://doi.org/10.1145/3627673.3679569"
)
_CASEREC = (
    "Arthur da Costa et al. 2018. Case Recommender: A Flexible and Extensible Python Framework for "
    "Recommender Systems. RecSys 2018. https://doi.org/10.1145/3240323.3241611"
)
_MINIONEREC = (
    "Xiaoyu Kong et al. 2025. MiniOneRec: An Open-Source Framework for Scaling Generative "
    "Recommendation. https://arxiv.org/abs/2510.24431"
)
_TALLREC = (
    "Keqin Bao et al. 2023. TALLRec: An Effective and Efficient Tuning Framework to Align Large "
    "Language Model with Recommendation. RecSys 2023. https://doi.org/10.1145/3604915.3608857"
)
_KAGGLE = "repackaged from Kaggle: terms as posted there, please cite, no redistribution"
_ANIME = "99882032ba25342e7e15e9669f93d596ae1ce1d95ed40dd6199b27e943f9a925"
_STEAM = "befdc608cb06f83b97f9d7a34437ca3d76a8ad648dd9304d837ebe3fdf92a77e"
_RETAILROCKET = "ac6d10de4a61cfd687b7931cdf62f54d363d8cb06bcc6ae93df1833d531a5ac7"


def _caserec(
    name: str, member: str, what: str, counts: tuple[int, int, int], digest: str
) -> DataSet:
    """A file in a zip of the folder `caserec`."""
    return DataSet(
        name=name,
        summary=f"{what}; no times",
        statistics=dict(zip(("users", "items", "events"), counts, strict=True)),
        wheel=None,
        citation=_CASEREC,
        terms=_KAGGLE,
        folder="caserec",
        member=member,
        layout="caserec",
        files={member.partition(":")[0]: digest},
    )


MORE_SETS = (
    DataSet(
        name="gowalla",
        summary="Gowalla check-ins of LightGCN, with its split; no order, no times",
        statistics={"users": 29_858, "items": 40_981, "events": 1_027_370},
        wheel=None,
        citation=_LIGHTGCN,
        terms="derived from SNAP's Gowalla data: please cite, no licence is stated",
        folder="lightgcn/gowalla",
        member="train.txt",
        layout="lightgcn",
        files={
            "train.txt.gz": "5d6c1565de1f0586eb69cfa1fddffc301fb66ab07d83772042760a5727df3858",
            "valid.txt.gz": "8d357b0921ba5b25702387b91f135c946959836d3382489b2f1012edd9301122",
            "test.txt.gz": "9db4414306dbc518d3b81b0239515497908ecd6de09df99c6a92ba171e75b902",
        },
    ),
    DataSet(
        name="amazon-beauty-selfrec",
        summary="Amazon Beauty of SELFRec, with its split; no order, no times",
        statistics={"users": 52_204, "items": 57_289, "events": 394_908},
        wheel=None,
        citation=_SELFREC,
        terms=AMAZON_TERMS,
        folder="lightgcn/amazon-beauty-selfrec",
        member="train.txt",
        layout="selfrec",
        files={
            "train.txt.gz": "ae5fcd7e578209606738b108face343905b4f9cfa662eb2346dc7028a6a69f5f",
            "valid.txt.gz": "ad51c527b6eebe80e4097a5d894be3c56b0b19f42ef7d0187036558afd10ed00",
            "test.txt.gz": "662cce4912416a690c944265900b783f362c683adb1defc62b4ae420ce63e335",
        },
    ),
    DataSet(
        name="letter-instruments",
        summary="Amazon Musical Instruments of LETTER; order without times",
        statistics={"users": 24_772, "items": 9_922, "events": 206_153},
        wheel=None,
        citation=_LETTER,
        terms=AMAZON_TERMS,
        folder="letter",
        member="Instruments.inter.json",
        layout="json_lists",
        files={
            "Instruments.inter.json.gz": (
                "cf1d2fa1c9dde7f8ccb9b12d7a5a73badec975ac6e67d3f92dded92bfa10059f"
            )
        },
    ),
    _caserec(
        "anime",
        "anime.zip:anime/anime_history.dat",
        "what 5,000 people have watched on MyAnimeList",
        (5_000, 7_390, 520_609),
        _ANIME,
    ),
    _caserec(
        "anime-ratings",
        "anime.zip:anime/anime_ratings.dat",
        "their ratings from 1 to 10",
        (4_714, 7_157, 419_943),
        _ANIME,
    ),
    _caserec(
        "steam",
        "steam.zip:steam/game_purchase.dat",
        "games bought on Steam, 707 of them twice",
        (12_393, 5_155, 129_511),
        _STEAM,
    ),
    _caserec(
        "steam-hours",
        "steam.zip:steam/game_play.dat",
        "hours that these games were played",
        (11_350, 3_600, 70_489),
        _STEAM,
    ),
    _caserec(
        "retailrocket-views",
        "Retailrocket_Ecommerce.zip:RetailRocket_Ecommerce/view_ecommerce.dat",
        "what visitors of a shop looked at",
        (3_423, 8_878, 78_371),
        _RETAILROCKET,
    ),
    _caserec(
        "retailrocket-carts",
        "Retailrocket_Ecommerce.zip:RetailRocket_Ecommerce/add_to_cart_ecommerce.dat",
        "what they put into their carts",
        (1_557, 4_447, 9_028),
        _RETAILROCKET,
    ),
    _caserec(
        "retailrocket-buys",
        "Retailrocket_Ecommerce.zip:RetailRocket_Ecommerce/purchase_ecommerce.dat",
        "what they bought",
        (824, 3_077, 5_088),
        _RETAILROCKET,
    ),
    DataSet(
        name="minionerec-office",
        summary="Amazon Office Products of MiniOneRec: validation and test targets with histories",
        statistics={"users": 3_231, "items": 3_317, "events": 21_188},
        wheel=None,
        citation=_MINIONEREC,
        terms=AMAZON_TERMS,
        folder="minionerec",
        member="valid/Office_Products_5_2016-10-2018-11.csv",
        layout="minionerec",
        files={
            "Office_Products_5_2016-10-2018-11.csv.gz": (
                "6eb4c716959c747ff9f72b62946c1e8de1054d3da2175cbabda1cb6933b91d73"
            )
        },
    ),
    DataSet(
        name="tallrec-movie",
        summary="prompts of TALLRec on films of MovieLens 100K: liked, disliked, and a Yes or No",
        statistics={"users": 29, "items": 2_000, "events": 2_000},
        wheel=None,
        citation=f"{_TALLREC} {GROUPLENS_CITATION}",
        terms=GROUPLENS_TERMS,
        folder="tallrec/movie",
        member="valid.json",
        layout="tallrec",
        files={
            "valid.json.gz": "79444994dfd2917f972cd63d099ad8dbef4d9027622c808292d49e9a66736ac7",
            "test.json.gz": "899bddc82473194e40a41396e19eafb718e949c989048774fae3a860295adaeb",
        },
    ),
)
