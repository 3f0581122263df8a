"""Put together what each of our own processes is told; environment.py has the words."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from broker.cli.stack import environment as env
from broker.cli.stack.planning.backing import Servers
from broker.cli.stack.planning.given import Given, as_role
from broker.cli.stack.servers import accounts, temporal
from broker.cli.stack.state import State, put_secret, secret_file

_ROLE_OWNERS = {
    accounts.BROKER: "broker",
    accounts.EDGE: "edge",
    accounts.OWNER: "migrate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The variables of one stack's own processes, group by group.

    Attributes:
        state: Where passwords are kept.
        caller: The caller's environment.
        given: What runs elsewhere.
        servers: What runs here.
        brokers: Base URL of each broker.
        crm_url: Base URL of the CRM.
    """

    state: State
    caller: Mapping[str, str]
    given: Given
    servers: Servers
    brokers: tuple[str, ...]
    crm_url: str

    def base(self, part: str) -> dict[str, str]:
        """Return what every one of our processes is told."""
        return env.base(self.caller, self.state, part=part) | {
            "COUNTERFOIL_ISSUER": self.brokers[0],
            "COUNTERFOIL_BROKER_URLS": ",".join(self.brokers),
            "COUNTERFOIL_CATALOG": str(env.catalog()),
        }

    def socket(self, name: str) -> str:
        """Return the socket of signer, edge or runner."""
        given = {
            "signer": self.given.signer_socket,
            "edge": self.given.edge_socket,
            "runner": self.given.runner_socket,
        }[name]
        return given or str(self.state.run / name / f"{name}.sock")

    def sockets(self, *names: str) -> dict[str, str]:
        """Return the variables that name sockets."""
        return {
            f"COUNTERFOIL_{name.upper()}_SOCKET": self.socket(name) for name in names
        }

    def database(self, role: str) -> dict[str, str]:
        """Return how a process reaches the database as its own role."""
        if role == accounts.OWNER and self.given.database_url:
            # Whoever may make roles there owns the tables too.
            return _database(self.given.database_url, self._given_database_file())
        if self.given.database_url:
            url = as_role(self.given.database_url, role)
        else:
            url = env.socket_database_url(
                self.servers.database_folder, role=role, database=accounts.DATABASE
            )
        file = self.state.password_file(_ROLE_OWNERS[role], "database")
        return _database(url, str(file))

    def making_roles(self) -> dict[str, str]:
        """Return how the roles are made, and with which passwords."""
        made = dict(_ROLE_OWNERS)
        if self.given.database_url:
            del made[accounts.OWNER]
            url, file = self.given.database_url, self._given_database_file()
        else:
            url = env.socket_database_url(
                self.servers.database_folder, role=accounts.ADMIN, database="postgres"
            )
            file = str(self.state.password_file("postgres", "admin"))
        pairs = (
            f"{role}={self.state.password_file(owner, 'database')}"
            for role, owner in made.items()
        )
        return {
            accounts.ADMIN_URL_VARIABLE: url,
            accounts.ADMIN_PASSWORD_VARIABLE: file,
            accounts.FILES_VARIABLE: os.pathsep.join(pairs),
        }

    def _given_database_file(self) -> str:
        path = self.state.path / "migrate" / "given.password"
        put_secret(path, self.given.database_password)
        return str(path)

    def redis(self) -> dict[str, str]:
        """Return how a broker reaches Valkey or Redis."""
        if self.given.redis_url:
            file = self.state.path / "broker" / "redis-given.password"
            put_secret(file, self.given.redis_password)
            url = self.given.redis_url
        else:
            file = self.state.password_file("broker", "redis")
            url = f"unix://default@{quote(str(self.servers.redis_socket))}?db=0"
        return {
            "COUNTERFOIL_REDIS_URL": url,
            "COUNTERFOIL_REDIS_PASSWORD_FILE": str(file),
        }

    def temporal(self, user: str) -> dict[str, str]:
        """Return how broker or worker reaches Temporal."""
        names = {
            "COUNTERFOIL_TEMPORAL_NAMESPACE": temporal.NAMESPACE,
            "COUNTERFOIL_TEMPORAL_TASK_QUEUE": env.TASK_QUEUE,
        }
        named = {name: self.caller.get(name, value) for name, value in names.items()}
        if self.given.temporal_address:
            proxy = {
                name: self.caller[name]
                for name in env.TEMPORAL_PROXY
                if name in self.caller
            }
            address = {"COUNTERFOIL_TEMPORAL_ADDRESS": self.given.temporal_address}
            return named | proxy | address
        return named | {
            "COUNTERFOIL_TEMPORAL_ADDRESS": self.servers.temporal_address,
            "COUNTERFOIL_TEMPORAL_PROXY": str(self.servers.temporal_proxy),
            "COUNTERFOIL_TEMPORAL_PROXY_USER": user,
            "COUNTERFOIL_TEMPORAL_PASSWORD_FILE": str(
                self.state.password_file(user, "temporal")
            ),
        }

    def crm(self, part: str) -> dict[str, str]:
        """Return the CRM's address and credential for the edge, or the CRM itself.

        Each has a copy of its own: neither can reach the other's folder.
        """
        original = secret_file(self.state.path / "edge" / "democrm.credential")
        copy = self.state.path / "democrm" / "credential"
        put_secret(copy, original.read_text("utf-8").removesuffix("\n"))
        told = {
            "COUNTERFOIL_CRM_URL": self.crm_url,
            "COUNTERFOIL_CRM_CREDENTIAL_FILE": str(
                copy if part == "democrm" else original
            ),
        }
        if part == "democrm":
            # Journal, faults and reset are for the people beside it, never the edge.
            control = secret_file(self.state.path / "democrm" / "control")
            told["COUNTERFOIL_CRM_CONTROL_FILE"] = str(control)
        return told


def _database(url: str, file: str) -> dict[str, str]:
    return {
        "COUNTERFOIL_DATABASE_URL": url,
        "COUNTERFOIL_DATABASE_PASSWORD_FILE": file,
    }
