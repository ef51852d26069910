"""A mock of the part of Kubernetes' API that KubernetesPodOperator uses; pods run in podman.

A pod has one container that runs, and perhaps Airflow's sidecar for XCom. The sidecar's image is
not available here: its commands run on this machine, in the same volume.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.integrations.container import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Self

Resource = dict[str, Any]

SIDECAR = "airflow-xcom-sidecar"
# Kubernetes, "Determine the Reason for Pod Failure".
_MAX_MESSAGE_BYTES = 4096
# RFC 6455, 1.3.
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8
_STDIN, _STDOUT, _STATUS = b"\x00", b"\x01", b"\x03"


def now() -> str:
    """Return the current time as the API writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class RefusedPodError(Exception):
    """The cluster cannot run such a pod."""


@dataclass(eq=False)
class Pod:
    """A pod: its manifest, its *folder* on the host, and the state of its containers."""

    manifest: Resource
    folder: Path
    name: str
    exit_code: int | None = None
    finished_at: str | None = None
    created_at: str = field(default_factory=now)
    finished: threading.Event = field(default_factory=threading.Event)
    sidecar_ended: threading.Event = field(default_factory=threading.Event)

    @property
    def base(self) -> Resource:
        """The container that runs."""
        containers: list[Resource] = self.manifest["spec"]["containers"]
        (base,) = (container for container in containers if container["name"] != SIDECAR)
        return base

    @property
    def sidecar(self) -> Resource | None:
        """Airflow's sidecar, if the pod has one."""
        containers: list[Resource] = self.manifest["spec"]["containers"]
        return next((container for container in containers if container["name"] == SIDECAR), None)

    def is_selected(self, terms: list[tuple[str, str, str]]) -> bool:
        """Return whether its labels fit every ``name=value`` and ``name!=value`` of *terms*."""
        labels = self.manifest["metadata"]["labels"]
        return all(
            (labels.get(name) == value) == (operator == "=") for name, operator, value in terms
        )

    def volume(self, name: str) -> Path:
        """Return the host's folder of the empty volume *name*."""
        return self.folder / name

    def document(self) -> Resource:
        """Return the pod as the API describes it."""
        states = [self._state(self.base, self.finished, self.exit_code)]
        if sidecar := self.sidecar:
            states.append(self._state(sidecar, self.sidecar_ended, 0))
        phase = "Failed" if self.exit_code else "Succeeded"
        if any(container["ready"] for container in states):
            phase = "Running"
        status = {"phase": phase, "startTime": self.created_at, "containerStatuses": states}
        return {**self.manifest, "status": status}

    def _state(
        self, container: Resource, ended: threading.Event, exit_code: int | None
    ) -> Resource:
        state: Resource = {"running": {"startedAt": self.created_at}}
        if ended.is_set():
            reason = "Error" if exit_code else "Completed"
            end = {"exitCode": exit_code, "reason": reason, "finishedAt": self.finished_at}
            message = (self.folder / "termination-log").read_bytes()[:_MAX_MESSAGE_BYTES]
            if container["name"] != SIDECAR and message:
                end["message"] = message.decode()
            state = {"terminated": end}
        image = {"image": container["image"], "imageID": container["image"], "restartCount": 0}
        name, is_running = container["name"], not ended.is_set()
        return {"name": name, **image, "ready": is_running, "state": state}


class Cluster:
    """A context manager that serves the API; every namespace has *secrets* and *claims*.

    ``created`` has the manifests of the pods as they were sent, ``unknown`` the requests that the
    mock does not support.
    """

    def __init__(
        self, folder: Path, secrets: Mapping[str, Mapping[str, str]], claims: Mapping[str, Path]
    ) -> None:
        self.created: list[Resource] = []
        self.unknown: list[str] = []
        self.pods: dict[str, Pod] = {}
        self._folder, self._secrets, self._claims = folder, secrets, claims
        self._server = ThreadingHTTPServer(
            ("127.0.0.1", 0), type("Handler", (_Handler,), {"cluster": self})
        )
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        """Start serving."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, and remove the remaining pods."""
        self._server.shutdown()
        self._server.server_close()
        for name in list(self.pods):
            self.delete(name)

    def write_config(self, file: Path) -> Path:
        """Write a client's configuration for the cluster to *file*, and return that."""
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": url}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {}}],
            "current-context": "here",
        }
        file.write_text(json.dumps(config), encoding="utf-8")
        return file

    def create(self, manifest: Resource) -> Pod:
        """Start the pod of *manifest*. Raises RefusedPodError."""
        self.created.append(json.loads(json.dumps(manifest)))
        metadata = manifest["metadata"]
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "resourceVersion": "1"}
        pod = Pod(manifest, self._folder / metadata["name"], metadata["name"])
        pod.folder.mkdir()
        container = f"pod-{metadata['uid']}"
        command = [pod.base["image"], *pod.base.get("args", [])]
        engine.podman("create", "--name", container, *self._options(pod), *command)
        self.pods[pod.name] = pod
        engine.podman("start", container)
        threading.Thread(target=self._wait, args=(pod, container), daemon=True).start()
        return pod

    def delete(self, name: str) -> Pod:
        """Remove the pod *name* with its container."""
        pod = self.pods.pop(name)
        engine.podman("rm", "--force", "--time=0", f"pod-{pod.manifest['metadata']['uid']}")
        return pod

    def _wait(self, pod: Pod, container: str) -> None:
        pod.exit_code = int(engine.podman("wait", container))
        pod.finished_at = now()
        pod.finished.set()

    def _options(self, pod: Pod) -> list[str]:
        """Return podman's options for the pod. Raises RefusedPodError for unsupported settings."""
        container, spec = pod.base, pod.manifest["spec"]
        if container.get("command") or container.get("envFrom") or spec.get("initContainers"):
            raise RefusedPodError("the mock has no command, no envFrom and no initContainers")
        message = pod.folder / "termination-log"
        message.touch()
        message.chmod(0o666)
        # The sandbox is on this machine's loopback.
        options = [
            "--network=host",
            f"--volume={message}:/dev/termination-log",
            f"--env-file={self._variables(pod)}",
        ]
        return [*options, *_security_options(spec, container), *self._volume_options(pod)]

    def _variables(self, pod: Pod) -> Path:
        lines = []
        for variable in pod.base.get("env", []):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                value = self._secrets[reference["name"]][reference["key"]]
            else:
                value = variable["value"]
            lines.append(f"{variable['name']}={value}\n")
        file = pod.folder / "variables"
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")
        return file

    def _volume_options(self, pod: Pod) -> list[str]:
        group = pod.manifest["spec"].get("securityContext", {}).get("fsGroup")
        folders: dict[str, Path] = {}
        for volume in pod.manifest["spec"].get("volumes", []):
            if "emptyDir" in volume:
                folder = pod.volume(volume["name"])
                folder.mkdir()
                folder.chmod(0o777)
            elif "persistentVolumeClaim" in volume:
                folder = self._claims[volume["persistentVolumeClaim"]["claimName"]]
                if group is not None:
                    # The kubelet gives a volume to the pod's group (PodSecurityContext, fsGroup).
                    subprocess.run(engine.as_root("chgrp", str(group), str(folder)), check=True)
                    subprocess.run(engine.as_root("chmod", "g+rwxs", str(folder)), check=True)
            else:
                raise RefusedPodError(f"the mock has no such volume: {volume}")
            folders[volume["name"]] = folder
        mounts = pod.base.get("volumeMounts", [])
        options = [f"--volume={folders[mount['name']]}:{mount['mountPath']}" for mount in mounts]
        if group is not None:
            options.append(f"--group-add={group}")
        return options


def _security_options(spec: Resource, container: Resource) -> list[str]:
    context = container.get("securityContext", {})
    pod = spec.get("securityContext", {})
    user = ":".join(str(pod[name]) for name in ("runAsUser", "runAsGroup") if name in pod)
    # Otherwise the sidecar, at least, has its image's user: root.
    if pod.get("runAsNonRoot") and not re.fullmatch(r"[1-9][0-9]*(:[0-9]+)?", user):
        raise RefusedPodError(f'runAsNonRoot needs a number of a user, not "{user}"')
    options = [f"--cap-drop={name}" for name in context.get("capabilities", {}).get("drop", [])]
    if user:
        options.append(f"--user={user}")
    if context.get("readOnlyRootFilesystem"):
        # A cluster has no writable folders of podman's own.
        options += ["--read-only", "--read-only-tmpfs=false"]
    if context.get("allowPrivilegeEscalation") is False:
        options.append("--security-opt=no-new-privileges")
    return options


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        length = int(self.headers.get("content-length") or 0)
        self.body = json.loads(self.rfile.read(length) or b"{}")
        match = re.fullmatch(
            r"/api/v1/namespaces/[^/]+/(pods|events)(?:/([^/]+))?(?:/(log|exec))?",
            unquote(parts.path),
        )
        resource, name, action = match.groups() if match else (None, None, None)
        respond = _ROUTES.get((self.command, resource, bool(name), action))
        if respond is None:
            self.cluster.unknown.append(f"{self.command} {self.path}")
            self._refuse(404, f"no such path: {self.path}")
        elif name is None:
            respond(self)
        elif name in self.cluster.pods:
            respond(self, self.cluster.pods[name])
        else:
            self._refuse(404, f'pods "{name}" not found')

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass

    def create(self) -> None:
        try:
            pod = self.cluster.create(self.body)
        except RefusedPodError as error:
            self._refuse(422, str(error))
        else:
            self._send(pod.document(), 201)

    def list_pods(self) -> None:
        (selector,) = self.query["labelSelector"]
        terms = re.findall(r"([^!=,]+)(!?=)([^,]*)", selector)
        pods = [pod for pod in self.cluster.pods.values() if pod.is_selected(terms)]
        self._send_list("PodList", [pod.document() for pod in pods])

    def list_events(self) -> None:
        self._send_list("EventList", [])

    def read(self, pod: Pod) -> None:
        self._send(pod.document())

    def patch(self, pod: Pod) -> None:
        assert set(self.body) == {"metadata"}
        assert set(self.body["metadata"]) == {"labels"}
        pod.manifest["metadata"]["labels"] |= self.body["metadata"]["labels"]
        self._send(pod.document())

    def delete(self, pod: Pod) -> None:
        self._send(self.cluster.delete(pod.name).document())

    def log(self, pod: Pod) -> None:
        assert self.query["container"] == [pod.base["name"]]
        follow = ["--follow"] if self.query.get("follow") == ["True"] else []
        self.send_response(200)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        command = engine.command(
            "logs", "--timestamps", *follow, f"pod-{pod.manifest['metadata']['uid']}"
        )
        with subprocess.Popen(
            command, env=engine.environ(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            for line in process.stdout or ():
                self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        if follow:
            # After the end of the log, Airflow expects that the pod has ended.
            pod.finished.wait()
        self.wfile.write(b"0\r\n\r\n")

    def exec(self, pod: Pod) -> None:
        assert self.query["container"] == [SIDECAR]
        key = f"{self.headers['sec-websocket-key']}{_WEBSOCKET_GUID}".encode()
        digest = hashlib.sha1(key, usedforsecurity=False).digest()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(digest).decode())
        self.send_header("sec-websocket-protocol", "v4.channel.k8s.io")
        self.end_headers()
        self.close_connection = True
        shell, *argv = self.query["command"]
        assert shell == "/bin/sh"
        if argv:
            (flag, script) = argv
            assert flag == "-c"
            script = script.replace("/airflow/xcom", str(pod.volume("xcom")))
            output = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout
            self._send_frame(_BINARY, _STDOUT + output)
        else:
            line = self._read_frame()
            assert line.startswith(_STDIN + b"kill -2 "), line
            pod.sidecar_ended.set()
        self._send_frame(_BINARY, _STATUS + b'{"metadata":{},"status":"Success"}')
        self._send_frame(_CLOSE, b"")

    def _send_frame(self, kind: int, payload: bytes) -> None:
        length = len(payload)
        if length < 126:
            size = bytes([length])
        elif length < 1 << 16:
            size = b"\x7e" + length.to_bytes(2)
        else:
            size = b"\x7f" + length.to_bytes(8)
        self.wfile.write(bytes([0x80 | kind]) + size + payload)

    def _read_frame(self) -> bytes:
        """Return the payload of a client's frame, which is masked and shorter than 126 bytes."""
        _, size = self.rfile.read(2)
        mask = self.rfile.read(4)
        payload = self.rfile.read(size & 0x7F)
        return bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    def _send(self, document: Resource, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_list(self, kind: str, items: list[Resource]) -> None:
        metadata = {"resourceVersion": "1"}
        self._send({"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": items})

    def _refuse(self, status: int, message: str) -> None:
        body = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
        self._send({**body, "message": message, "code": status}, status)


_ROUTES: dict[tuple[str, str | None, bool, str | None], Callable[..., None]] = {
    ("POST", "pods", False, None): _Handler.create,
    ("GET", "pods", False, None): _Handler.list_pods,
    ("GET", "events", False, None): _Handler.list_events,
    ("GET", "pods", True, None): _Handler.read,
    ("PATCH", "pods", True, None): _Handler.patch,
    ("DELETE", "pods", True, None): _Handler.delete,
    ("GET", "pods", True, "log"): _Handler.log,
    ("GET", "pods", True, "exec"): _Handler.exec,
}
