"""A stand-in for the API of Kubernetes, as far as KubernetesPodOperator asks it: its pods are containers of podman's.

A pod has one container that runs, and perhaps Airflow's sidecar for XCom, whose image no registry here has:
what would be asked of its shell is done in the same volume.
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
# What a termination message may have at most (Kubernetes, "Determine the Reason for Pod Failure").
_MOST_MESSAGE_BYTES = 4096
# RFC 6455, 1.3.
_WEBSOCKET_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BINARY, _CLOSE = 2, 8
_STDIN, _STDOUT, _STATUS = b"\x00", b"\x01", b"\x03"


def now() -> str:
    """Return the moment as the API writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class RefusedPodError(Exception):
    """The cluster does not run such a pod."""


@dataclass(eq=False)
class Pod:
    """A pod: what was asked for, its *folder* on the host, and how far its containers are."""

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
        """Its container that runs."""
        (container,) = (
            one for one in self.manifest["spec"]["containers"] if one["name"] != SIDECAR
        )
        return dict(container)

    def volume(self, name: str) -> Path:
        """Return where its empty volume *name* is on the host."""
        return self.folder / name

    def document(self) -> Resource:
        """Return the pod as the API tells of it."""
        has_sidecar = any(one["name"] == SIDECAR for one in self.manifest["spec"]["containers"])
        is_over = self.finished.is_set() and (self.sidecar_ended.is_set() or not has_sidecar)
        statuses = [_status(self.base, self._state())]
        if has_sidecar:
            running = {"running": {"startedAt": self.created_at}}
            ended = {
                "terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": self.finished_at}
            }
            (sidecar,) = (
                one for one in self.manifest["spec"]["containers"] if one["name"] == SIDECAR
            )
            statuses.append(_status(sidecar, ended if self.sidecar_ended.is_set() else running))
        phase = ("Failed" if self.exit_code else "Succeeded") if is_over else "Running"
        return {
            **self.manifest,
            "status": {"phase": phase, "startTime": self.created_at, "containerStatuses": statuses},
        }

    def _state(self) -> Resource:
        if not self.finished.is_set():
            return {"running": {"startedAt": self.created_at}}
        message = (self.folder / "termination-log").read_bytes()[:_MOST_MESSAGE_BYTES].decode()
        reason = "Error" if self.exit_code else "Completed"
        told = {"message": message} if message else {}
        return {
            "terminated": {
                "exitCode": self.exit_code,
                "reason": reason,
                "finishedAt": self.finished_at,
                **told,
            }
        }


class Cluster:
    """A cluster of this machine alone, with these *secrets* and *claims* in every namespace. A context manager, which serves the API.

    ``created`` are the pods' manifests as they were sent, ``unknown`` what was asked
    that the stand-in has no answer to.
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
        """Begin to serve."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop serving, and remove the pods that nobody has deleted."""
        self._server.shutdown()
        self._server.server_close()
        for name in list(self.pods):
            self.delete(name)

    def write_config(self, file: Path) -> Path:
        """Write to *file* what a client needs to reach the cluster, and return it."""
        cluster = {
            "name": "here",
            "cluster": {"server": f"http://127.0.0.1:{self._server.server_address[1]}"},
        }
        context = {"name": "here", "context": {"cluster": "here", "user": "nobody"}}
        users = [{"name": "nobody", "user": {}}]
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [cluster],
            "contexts": [context],
            "users": users,
        }
        file.write_text(json.dumps({**config, "current-context": "here"}), encoding="utf-8")
        return file

    def create(self, manifest: Resource) -> Pod:
        """Run the pod that *manifest* asks for; it runs when this returns. Raises RefusedPodError."""
        self.created.append(json.loads(json.dumps(manifest)))
        metadata = manifest["metadata"]
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "resourceVersion": "1"}
        pod = Pod(manifest, self._folder / metadata["name"], metadata["name"])
        pod.folder.mkdir()
        container = f"pod-{metadata['uid']}"
        engine.podman(
            "create",
            "--name",
            container,
            *self._options(pod),
            pod.base["image"],
            *pod.base.get("args", []),
        )
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
        """Return what makes podman's container the pod's. Raises RefusedPodError for what podman would not see to."""
        container, spec = pod.base, pod.manifest["spec"]
        if container.get("command") or container.get("envFrom") or spec.get("initContainers"):
            raise RefusedPodError(
                "the stand-in knows the image's own entry, and variables by their names"
            )
        message = pod.folder / "termination-log"
        message.touch()
        message.chmod(0o666)
        # A cluster has a network of its own; here the sandbox is on this machine's loopback.
        options = [
            "--network=host",
            f"--volume={message}:/dev/termination-log",
            f"--env-file={self._variables(pod)}",
        ]
        return [*options, *_security_options(spec, container), *self._volume_options(pod)]

    def _variables(self, pod: Pod) -> Path:
        lines = []
        for one in pod.base.get("env", []):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            value = (
                self._secrets[reference["name"]][reference["key"]] if reference else one["value"]
            )
            lines.append(f"{one['name']}={value}\n")
        file = pod.folder / "variables"
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")
        return file

    def _volume_options(self, pod: Pod) -> list[str]:
        group = pod.manifest["spec"].get("securityContext", {}).get("fsGroup")
        places: dict[str, Path] = {}
        for volume in pod.manifest["spec"].get("volumes", []):
            if "emptyDir" in volume:
                places[volume["name"]] = pod.volume(volume["name"])
                places[volume["name"]].mkdir()
                places[volume["name"]].chmod(0o777)
            elif "persistentVolumeClaim" in volume:
                places[volume["name"]] = folder = self._claims[
                    volume["persistentVolumeClaim"]["claimName"]
                ]
                if group is not None:
                    # The kubelet gives a volume to the pod's group (PodSecurityContext, fsGroup).
                    subprocess.run(engine.as_root("chgrp", str(group), str(folder)), check=True)
                    subprocess.run(engine.as_root("chmod", "g+rwxs", str(folder)), check=True)
            else:
                raise RefusedPodError(f"the stand-in has no such volume: {volume}")
        mounts = [
            f"--volume={places[mount['name']]}:{mount['mountPath']}"
            for mount in pod.base.get("volumeMounts", [])
        ]
        return [*mounts, *([] if group is None else [f"--group-add={group}"])]


def _security_options(spec: Resource, container: Resource) -> list[str]:
    context = container.get("securityContext", {})
    pod = spec.get("securityContext", {})
    given = [str(pod[name]) for name in ("runAsUser", "runAsGroup") if name in pod]
    users = [
        ":".join(given)
        or engine.podman("image", "inspect", "--format={{.Config.User}}", container["image"])
    ]
    # The sidecar's image has root for its user.
    users += [":".join(given) or "0"] if len(spec["containers"]) > 1 else []
    for user in users if pod.get("runAsNonRoot") else ():
        if not re.fullmatch(r"[1-9][0-9]*(:[0-9]+)?", user):
            raise RefusedPodError(
                f'container has runAsNonRoot and image has non-numeric user or root: "{user}"'
            )
    options = [f"--user={users[0]}"] if given else []
    options += [f"--cap-drop={name}" for name in context.get("capabilities", {}).get("drop", [])]
    if context.get("readOnlyRootFilesystem"):
        # podman's own writable folders are not there in a cluster.
        options += ["--read-only", "--read-only-tmpfs=false"]
    if context.get("allowPrivilegeEscalation") is False:
        options.append("--security-opt=no-new-privileges")
    return options


def _status(container: Resource, state: Resource) -> Resource:
    told = {
        "name": container["name"],
        "image": container["image"],
        "imageID": container["image"],
        "restartCount": 0,
    }
    return {**told, "ready": "running" in state, "state": state}


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
        answer = _ANSWERS.get((self.command, match[1], bool(match[2]), match[3])) if match else None
        if match is None or answer is None:
            self.cluster.unknown.append(f"{self.command} {self.path}")
            return self._refuse(404, f"no such path: {self.path}")
        if match[2] and match[2] not in self.cluster.pods:
            return self._refuse(404, f'pods "{match[2]}" not found')
        return answer(self, *([self.cluster.pods[match[2]]] if match[2] else []))

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        pass

    def create(self) -> None:
        try:
            pod = self.cluster.create(self.body)
        except RefusedPodError as error:
            return self._refuse(422, str(error))
        return self._send(pod.document(), 201)

    def list_pods(self) -> None:
        (selector,) = self.query.get("labelSelector", [""])
        found = [
            pod.document()
            for pod in self.cluster.pods.values()
            if _is_selected(pod.manifest["metadata"]["labels"], selector)
        ]
        self._send(
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": "1"},
                "items": found,
            }
        )

    def list_events(self) -> None:
        self._send(
            {
                "kind": "EventList",
                "apiVersion": "v1",
                "metadata": {"resourceVersion": "1"},
                "items": [],
            }
        )

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
            # Whose log has ended has ended himself.
            pod.finished.wait()
        self.wfile.write(b"0\r\n\r\n")

    def exec(self, pod: Pod) -> None:
        assert self.query["container"] == [SIDECAR]
        accept = base64.b64encode(
            hashlib.sha1(f"{self.headers['sec-websocket-key']}{_WEBSOCKET_GUID}".encode()).digest()
        ).decode()
        self.send_response(101)
        headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-accept": accept}
        for name, value in {**headers, "sec-websocket-protocol": "v4.channel.k8s.io"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        shell, *argv = self.query["command"]
        assert shell == "/bin/sh"
        if argv:
            (flag, script) = argv
            assert flag == "-c"
            script = script.replace("/airflow/xcom", str(pod.volume("xcom")))
            said = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout
            self._send_frame(_BINARY, _STDOUT + said)
        else:
            typed = self._read_frame()
            assert typed.startswith(_STDIN + b"kill -2 "), typed
            pod.sidecar_ended.set()
        self._send_frame(_BINARY, _STATUS + b'{"metadata":{},"status":"Success"}')
        self._send_frame(_CLOSE, b"")

    def _send_frame(self, kind: int, payload: bytes) -> None:
        length = len(payload)
        size = (
            bytes([length])
            if length < 126
            else b"\x7e" + length.to_bytes(2)
            if length < 1 << 16
            else b"\x7f" + length.to_bytes(8)
        )
        self.wfile.write(bytes([0x80 | kind]) + size + payload)

    def _read_frame(self) -> bytes:
        """Return what a frame of a client's has, which is short and masked."""
        _, size = self.rfile.read(2)
        size &= 0x7F
        length = int.from_bytes(self.rfile.read(2)) if size == 126 else size
        mask = self.rfile.read(4)
        return bytes(byte ^ mask[n % 4] for n, byte in enumerate(self.rfile.read(length)))

    def _send(self, document: Resource, status: int = 200) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, message: str) -> None:
        self._send(
            {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "message": message,
                "code": status,
            },
            status,
        )


def _is_selected(labels: Mapping[str, str], selector: str) -> bool:
    for term in filter(None, selector.split(",")):
        name, operator, value = re.fullmatch(r"!?([^!=]+)(!?=)?(.*)", term).groups()  # type: ignore[union-attr] # matches every term
        has = labels.get(name)
        if (
            (operator == "=" and has != value)
            or (operator == "!=" and has == value)
            or (operator is None and (has is None) != (term[0] == "!"))
        ):
            return False
    return True


_ANSWERS: dict[tuple[str, str, bool, str | None], Callable[..., None]] = {
    ("POST", "pods", False, None): _Handler.create,
    ("GET", "pods", False, None): _Handler.list_pods,
    ("GET", "events", False, None): _Handler.list_events,
    ("GET", "pods", True, None): _Handler.read,
    ("PATCH", "pods", True, None): _Handler.patch,
    ("DELETE", "pods", True, None): _Handler.delete,
    ("GET", "pods", True, "log"): _Handler.log,
    ("GET", "pods", True, "exec"): _Handler.exec,
}
