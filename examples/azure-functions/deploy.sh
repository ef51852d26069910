#!/usr/bin/env bash
# Needs GROUP, APP and VAULT: the names of the resource group, the function app and the key vault.
set -euo pipefail
az functionapp config appsettings set --resource-group "$GROUP" --name "$APP" --settings \
  ALM_BASE_URL=https://learningmanager.adobe.com \
  "ALM_SERVE_KEY=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-serve-key)" \
  "ALM_CLIENT_ID=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-client-id)" \
  "ALM_CLIENT_SECRET=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-client-secret)" \
  "ALM_REFRESH_TOKEN=@Microsoft.KeyVault(SecretUri=https://$VAULT.vault.azure.net/secrets/alm-refresh-token)"
func azure functionapp publish "$APP"
