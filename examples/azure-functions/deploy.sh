#!/usr/bin/env bash
set -euo pipefail
az functionapp config appsettings set --resource-group "$GROUP" --name "$APP" --settings \
  ALM_BASE_URL=https://learningmanager.adobe.com \
  "ALM_SERVE_KEY=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-serve-key)" \
  "ALM_ACCESS_TOKEN=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-access-token)"
func azure functionapp publish "$APP"
