"""TLS and accounts on every port, with certificates made here, curl, grpcio and pyarrow."""

import base64
import http.client
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import grpc
import pyarrow as pa
import wire
from harness import Server, wait_for
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_service
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc as metrics_grpc
from pyarrow import flight

NOW_MS = int(time.time() * 1000)
# bcrypt of "correct horse" and of "hunter2", cheap ones.
ALICE_HASH = "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"
BOB_HASH = "$2y$05$zyxwvutsrqponmlkjihgfeOPnICsbPTOScgSPIqQ1EVImBoBWq2du"
TOKEN = "a-token-that-nobody-may-see"
SECRETS = [ALICE_HASH, BOB_HASH, TOKEN, "correct horse", "hunter2"]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


ALICE = basic("alice", "correct horse")
BOB = basic("bob", "hunter2")

WEB_CONFIG = f"""
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  min_version: TLS12
basic_auth_users:
  alice: {ALICE_HASH}
  bob: {BOB_HASH}
user_tenants:
  bob: [team-b]
bearer_tokens_file: tokens
"""


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                     "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=test authority")  # fmt: skip

    def openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def issue(self, name: str, subject: str) -> None:
        """Puts NAME.crt and NAME.key in place, the key first, each in one step."""
        (self.folder / "extensions").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                     "-keyout", "new.key", "-out", "new.csr", "-subj", f"/CN={subject}")  # fmt: skip
        self.openssl("x509", "-req", "-in", "new.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                     "-days", "2", "-extfile", "extensions", "-out", "new.crt")  # fmt: skip
        for suffix in ("key", "crt"):
            (self.folder / f"new.{suffix}").replace(self.folder / f"{name}.{suffix}")


class SecureServer(Server):
    """A server with a web config; requests are Alice's unless they say otherwise."""

    def __init__(self, folder: Path, *flags: str):
        self.certificates = folder
        self.context = ssl.create_default_context(cafile=folder / "ca.crt")
        super().__init__(f"--web-config={folder / 'web.yaml'}", "--enable-lifecycle", *flags)

    def request(self, method, path, body=b"", headers=None):
        host, port = self.http.split(":")
        connection = http.client.HTTPSConnection(host, int(port), timeout=60, context=self.context)
        try:
            connection.request(method, path, body or None, {"Authorization": ALICE} | (headers or {}))
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def subject(self, port: str = "http") -> str:
        """The name in the certificate that the server shows now."""
        host, number = self.addresses[port].split(":")
        with (
            socket.create_connection((host, int(number)), timeout=60) as plain,
            self.context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return dict(pair[0] for pair in secure.getpeercert()["subject"])["commonName"]


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(tempfile.mkdtemp(prefix="mytsdb-e2e-tls-"))
        cls.authority = Authority(cls.folder)
        cls.authority.issue("server", "first")
        (cls.folder / "web.yaml").write_text(WEB_CONFIG)
        (cls.folder / "tokens").write_text(f"# tokens\n{TOKEN} team-t,team-u\n")
        cls.server = SecureServer(cls.folder)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.close()
        shutil.rmtree(cls.folder)

    def status(self, path: str, authorization: str | None, tenant: str | None = None) -> int:
        headers = {"Authorization": authorization or ""}
        if tenant:
            headers["X-Scope-OrgID"] = tenant
        return self.server.request("GET", path, headers=headers)[0]

    def test_http_wants_a_right_password_or_token_on_every_path(self) -> None:
        for path in ("/-/healthy", "/-/ready", "/metrics", "/api/v1/query?query=1", "/nothing"):
            for wrong in (None, basic("alice", "hunter2"), basic("carol", "correct horse"), "Bearer x"):
                self.assertEqual(self.status(path, wrong), 401, (path, wrong))
        self.assertEqual(self.status("/-/healthy", ALICE), 200)
        self.assertEqual(self.status("/api/v1/query?query=1", f"Bearer {TOKEN}", "team-t"), 200)
        curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{http_version}", "--cacert",
                str(self.folder / "ca.crt")]  # fmt: skip
        url = f"https://localhost:{self.server.http.split(':')[1]}/api/v1/query?query=1"
        answer = subprocess.run([*curl, "-u", "alice:correct horse", url], capture_output=True, check=True)
        self.assertEqual(answer.stdout, b"200 2")
        answer = subprocess.run([*curl, "-u", "alice:wrong", url], capture_output=True, check=True)
        self.assertTrue(answer.stdout.startswith(b"401"), answer.stdout)
        plain = http.client.HTTPConnection(self.server.http, timeout=60)
        with self.assertRaises((http.client.HTTPException, OSError)):
            plain.request("GET", "/-/healthy")
            plain.getresponse()

    def test_users_that_are_bound_to_tenants_cannot_choose_others(self) -> None:
        query = "/api/v1/labels"
        self.assertEqual(self.status(query, BOB), 200)
        self.assertEqual(self.status(query, BOB, "team-b"), 200)
        self.assertEqual(self.status(query, BOB, "team-a"), 403)
        self.assertEqual(self.status(query, f"Bearer {TOKEN}"), 403)
        self.assertEqual(self.status(query, f"Bearer {TOKEN}", "team-u"), 200)
        self.assertEqual(self.status("/metrics", BOB), 403)
        sent = wire.request(wire.series({"__name__": "e2e_bound"}, [(NOW_MS, 1.0)]))
        headers = {"Authorization": BOB, "Content-Encoding": "snappy"}
        self.assertEqual(self.server.request("POST", "/api/v1/write", sent, headers)[0], 204)
        names = "/api/v1/label/__name__/values"
        self.assertIn("e2e_bound", self.server.request("GET", names, headers={"X-Scope-OrgID": "team-b"})[1])
        self.assertNotIn("e2e_bound", self.server.request("GET", names)[1])

    def export(self, authorization: str | None, tenant: str | None = None) -> grpc.StatusCode:
        credentials = grpc.ssl_channel_credentials((self.folder / "ca.crt").read_bytes())
        port = self.server.addresses["otlp_grpc"].split(":")[1]
        metadata = [("authorization", authorization)] if authorization else []
        metadata += [("x-scope-orgid", tenant)] if tenant else []
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            try:
                stub = metrics_grpc.MetricsServiceStub(channel)
                stub.Export(metrics_service.ExportMetricsServiceRequest(), metadata=metadata, timeout=60)
            except grpc.RpcError as error:
                return error.code()
        return grpc.StatusCode.OK

    def test_otlp_grpc_wants_the_same(self) -> None:
        self.assertEqual(self.export(ALICE), grpc.StatusCode.OK)
        self.assertEqual(self.export(f"Bearer {TOKEN}", "team-t"), grpc.StatusCode.OK)
        self.assertEqual(self.export(None), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.export(basic("alice", "x")), grpc.StatusCode.UNAUTHENTICATED)
        self.assertEqual(self.export(BOB, "team-a"), grpc.StatusCode.PERMISSION_DENIED)

    def test_otlp_http_wants_the_same(self) -> None:
        address = self.server.addresses["otlp_http"]
        for authorization, tenant, status in (
            (ALICE, "team-a", 200),
            (basic("alice", "x"), "team-a", 401),
            (BOB, "team-b", 200),
            (BOB, "team-a", 403),
        ):
            connection = http.client.HTTPSConnection(address, timeout=60, context=self.server.context)
            headers = {"Content-Type": "application/json", "Authorization": authorization, "X-Scope-OrgID": tenant}
            connection.request("POST", "/v1/metrics", b"{}", headers)
            self.assertEqual(connection.getresponse().status, status, (authorization, tenant))
            connection.close()

    def test_flight_wants_the_same(self) -> None:
        port = self.server.addresses["arrow"].split(":")[1]
        authority = (self.folder / "ca.crt").read_bytes()
        client = flight.connect(f"grpc+tls://localhost:{port}", tls_root_certs=authority)
        table = pa.table({"metric": ["e2e_flight"], "timestamp": pa.array([NOW_MS], pa.timestamp("ms")),
                          "value": [1.5]})  # fmt: skip

        def put(*headers: tuple[bytes, bytes]) -> None:
            options = flight.FlightCallOptions(headers=list(headers))
            writer, reader = client.do_put(flight.FlightDescriptor.for_path("samples"), table.schema, options)
            writer.write_table(table)
            writer.done_writing()
            reader.read()
            writer.close()

        put((b"authorization", BOB.encode()))
        with self.assertRaises(flight.FlightUnauthenticatedError):
            put((b"authorization", b"Bearer x"))
        for key in (b"x-scope-orgid", b"database", b"x-greptime-db-name"):
            with self.assertRaises(flight.FlightUnauthorizedError):
                put((b"authorization", BOB.encode()), (key, b"team-a"))
        client.close()
        names = self.server.request("GET", "/api/v1/label/__name__/values", headers={"X-Scope-OrgID": "team-b"})
        self.assertIn("e2e_flight", names[1])

    def test_a_new_certificate_and_new_accounts_are_taken_up_and_bad_ones_are_not(self) -> None:
        metric = 'mytsdb_config_last_reload_successful{file="web"}'
        self.assertEqual(self.server.subject(), "first")
        self.authority.issue("server", "second")
        for port in ("http", "otlp_http", "otlp_grpc", "arrow"):
            wait_for("the new certificate", lambda: self.server.subject(port) == "second")
        (self.folder / "tokens").write_text(f"{TOKEN} team-t,team-u\nanother-token\n")
        wait_for("the new token", lambda: self.status("/-/healthy", "Bearer another-token") == 200)
        (self.folder / "web.yaml").write_text(WEB_CONFIG + "basic_auth_userz: {}\n")
        wait_for("the complaint", lambda: f"{metric} 0" in self.server.request("GET", "/metrics")[1])
        self.assertEqual(self.status("/-/healthy", ALICE), 200)
        status, text = self.server.request("POST", "/-/reload")
        self.assertEqual(status, 500)
        self.assertIn("basic_auth_userz", text)
        (self.folder / "web.yaml").write_text(WEB_CONFIG)
        wait_for("the good file", lambda: f"{metric} 1" in self.server.request("GET", "/metrics")[1])
        shown = [self.server.request("GET", path)[1] for path in ("/api/v1/status/config", "/api/v1/status/flags")]
        shown += [text, self.server.process.log.read_text()]
        for secret in SECRETS:
            self.assertFalse(any(secret in part for part in shown), secret)

    def test_client_certificates_are_verified_where_the_file_says_so(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mytsdb-e2e-mtls-"))
        try:
            authority = Authority(folder)
            authority.issue("server", "server")
            authority.issue("client", "client")
            (folder / "web.yaml").write_text(
                "tls_server_config: {cert_file: server.crt, key_file: server.key, client_ca_file: ca.crt,\n"
                "  client_auth_type: RequireAndVerifyClientCert, min_version: TLS13}\n"
            )
            server_context = ssl.create_default_context(cafile=folder / "ca.crt")
            server_context.load_cert_chain(folder / "client.crt", folder / "client.key")

            class WithCertificate(SecureServer):
                def start(self) -> None:
                    self.context = server_context
                    super().start()

            server = WithCertificate(folder)
            try:
                self.assertEqual(server.request("GET", "/-/healthy")[0], 200)
                server.context = ssl.create_default_context(cafile=folder / "ca.crt")
                with self.assertRaises((ssl.SSLError, OSError, http.client.HTTPException)):
                    server.request("GET", "/-/healthy")
            finally:
                server.close()
        finally:
            shutil.rmtree(folder)
