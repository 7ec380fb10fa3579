"""What columns are called: which name stands for users, items, ratings and times."""

from collections.abc import Sequence

from fedjax_rec.errors import UserError

NAMES = {
    "user": (
        *("userid", "user", "uid", "userno", "usernumber", "userindex", "useridx", "u"),
        *("reviewerid", "customerid", "customer", "visitorid", "memberid", "personid", "person"),
        *("accountid", "steamid", "playerid", "readerid", "listenerid", "clientid", "client"),
        *("profileid", "username", "author", "reviewer", "sessionid", "session"),
    ),
    "item": (
        *("itemid", "item", "iid", "itemno", "itemindex", "itemidx", "i", "movieid", "movie"),
        *("filmid", "isbn", "bookid", "book", "asin", "productid", "parentasin", "businessid"),
        *("artistid", "artist", "songid", "trackid", "animeid", "gameid", "appid", "newsid"),
        *("articleid", "videoid", "poiid", "venueid", "locationid", "placeid", "recipeid"),
        *("gmapid", "showid", "stockcode", "sku", "product", "game", "title"),
    ),
    "rating": (
        *("rating", "ratings", "score", "stars", "star", "overall", "bookrating", "value", "r"),
        *("reviewoverall", "reviewscore", "starrating", "count", "weight", "playcount", "plays"),
        *("feedback", "preference", "hours", "purchase", "event", "label", "click"),
    ),
    "time": (
        *("timestamp", "time", "unixreviewtime", "unixtime", "ts", "datetime", "date", "t"),
        *("reviewtime", "createdat", "eventtime", "ratedat", "sorttimestamp", "checkintime"),
        *("ratingtime", "tstamp", "eventtimestamp", "orderdate", "purchasedate", "invoicedate"),
        *("reviewdate", "tdat"),
    ),
}
"""Role -> names of its column in data that are public, the more telling ones first."""

_ROLES = {name: role for role, names in NAMES.items() for name in names}


def bare_name(name: str) -> str:
    """A name without case and punctuation.

    >>> bare_name("User-ID"), bare_name("movie_Id"), bare_name("user_id:token")
    ('userid', 'movieid', 'userid')
    """
    return "".join(letter for letter in name.partition(":")[0].lower() if letter.isalnum())


def role_of(name: str) -> str:
    """What a column of that name holds; empty where that does not show.

    >>> role_of("reviewerID"), role_of("asin"), role_of("verified")
    ('user', 'item', '')
    """
    return _ROLES.get(bare_name(name), "")


def roles_of(names: Sequence[str], label: str) -> dict[str, str]:
    """Role -> the name of its column, of those that show; the more telling of two names.

    Raises:
      UserError: two columns have the same name but for case and punctuation.

    >>> roles_of(["User-ID", "ISBN", "Book-Rating"], "f")
    {'user': 'User-ID', 'item': 'ISBN', 'rating': 'Book-Rating'}
    """
    found: dict[str, str] = {}
    for role, known in NAMES.items():
        ranked = sorted(
            (known.index(bare_name(name)), name) for name in names if role_of(name) == role
        )
        if len(ranked) > 1 and ranked[0][0] == ranked[1][0] and ranked[0] != ranked[1]:
            raise UserError(
                f"{label}: columns {ranked[0][1]!r} and {ranked[1][1]!r} may both be the {role}; "
                f"say which with --data.{role}"
            )
        if ranked:
            found[role] = ranked[0][1]
    return found
