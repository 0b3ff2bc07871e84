// Calls STS GetCallerIdentity N times in one process: sts_calls.cjs PROFILE N. Prints the accounts as JSON.
// Only the profile file is consulted, as every SDK client with a profile does.
const { STSClient, GetCallerIdentityCommand } = require("@aws-sdk/client-sts");
const { fromIni, fromSSO } = require("@aws-sdk/credential-providers");

(async () => {
  const [profile, count, source] = process.argv.slice(2);
  const credentials = (source === "sso" ? fromSSO : fromIni)({ profile });
  const sts = new STSClient({ region: "eu-west-1", credentials, maxAttempts: 1 });
  const accounts = [];
  for (let i = 0; i < Number(count); i++) {
    accounts.push((await sts.send(new GetCallerIdentityCommand({}))).Account);
  }
  console.log(JSON.stringify(accounts));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
