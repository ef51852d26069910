#!/usr/bin/env bash
# Needs REGION, IMAGE (as in service.yaml), and a file for each credential in the folder secrets.
set -euo pipefail
# Cloud Run runs x86-64 only.
docker pull --platform linux/amd64 ghcr.io/OWNER/REPO:0.1.0
docker tag ghcr.io/OWNER/REPO:0.1.0 "$IMAGE"
docker push "$IMAGE"
python3 -c 'import secrets; print(secrets.token_urlsafe(32), end="")' | gcloud secrets create alm-serve-key --data-file=-
for name in alm-client-id alm-client-secret alm-refresh-token; do
  gcloud secrets create "$name" --data-file="secrets/$name"
done
gcloud run services replace service.yaml --region "$REGION"
