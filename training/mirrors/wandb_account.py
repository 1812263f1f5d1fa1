"""Checks wandb before a run: credentials, mode, project name. It does not import wandb, which is slow."""

import http.client
import netrc
import os
import threading
import urllib.error
import urllib.request
from urllib.parse import urlsplit

MODES = ("auto", "online", "offline", "disabled")
OF_ENVIRONMENT = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline"}
OF_ENVIRONMENT |= {"disabled": "disabled", "": "auto"}
SERVER = "https://api.wandb.ai"
NO_PROJECT = "/\\#?%:"  # characters
PATIENCE = 5.0  # seconds to wait for a server's first word


def server() -> str:
    return os.environ.get("WANDB_BASE_URL") or SERVER


def has_wandb_credentials() -> bool:
    """Whether WANDB_API_KEY or the netrc file lets wandb log in."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return (
            netrc.netrc(os.environ.get("NETRC") or None).authenticators(urlsplit(server()).hostname or "") is not None
        )
    except (OSError, ValueError, netrc.NetrcParseError):  # ValueError: of an address, or of bytes that are no text
        return False


def mode_of(mode: str) -> str:
    """online, offline or disabled. `auto` is what WANDB_MODE says, or its elder WANDB_DISABLED, else online where there
    are credentials.

    Raises ValueError for what cannot be.
    """
    asked_by = f"wandb.mode = {mode!r}"
    if mode == "auto":
        said = os.environ.get("WANDB_MODE", "").lower()
        asked_by = f"WANDB_MODE = {said!r}"
        if said not in OF_ENVIRONMENT:
            raise ValueError(f"{asked_by} is not known; use online, offline or disabled")
        switched_off = os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes", "on")
        mode = "disabled" if switched_off and not said else OF_ENVIRONMENT[said]
    if mode == "online" and not has_wandb_credentials():
        raise ValueError(f"{asked_by} needs credentials and there are none; run wandb login, or use offline")
    if mode == "auto":
        return "online" if has_wandb_credentials() else "offline"
    return mode


def check(mode: str, project: str) -> None:
    """Raises ValueError, in one line, for what wandb would refuse."""
    if mode_of(mode) != "disabled":
        if of_environment := os.environ.get("WANDB_PROJECT"):  # wandb reads it beside ours
            check_project("WANDB_PROJECT", of_environment)
        check_project("wandb.project", project)


def check_project(key: str, project: str) -> None:
    """Raises ValueError, in one line that names `key`, for what is no name of a project."""
    found = "".join(sorted(set(project) & set(NO_PROJECT)))
    if not project.strip() or found or len(project) > 128:
        problem = f"holds {found}" if found else "is empty" if not project.strip() else "is longer than 128 characters"
        way_out = "a team is named by WANDB_ENTITY" if "/" in found else "give a plain name"
        raise ValueError(f"{key} = {project!r} {problem}, which no project of wandb may; {way_out}")


def reachable() -> bool:
    """Whether anything answers at the server's address in PATIENCE seconds, by which a machine without a network, and a
    server that sends its answer in drops, are told."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_answers()), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return any(found)


def _answers() -> bool:
    try:
        urllib.request.urlopen(server(), timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True  # it answers
    except (OSError, ValueError, http.client.HTTPException) as error:
        return "CERTIFICATE" in str(error)  # wandb has certificates of its own
    return True
