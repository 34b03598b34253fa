# What happens inside NetBSD, in the folder that the tarball, the sources and README's program were copied to.
set -eu
uname -a
echo "Node.js $(node --version)"
modload nvmm 2>/dev/null || echo "modload nvmm failed: loaded already, or this machine has no NVMM and the mock is tested"

echo '== The tarball in an empty project'
rm -rf project
mkdir project
cp program.mjs project
(
  cd project
  echo '{ "private": true }' > package.json
  npm install --no-audit --no-fund ../nvmm.tgz
  node program.mjs
  npx nvmm identify --device auto
  npx nvmm selftest --device auto
)

echo '== The suite'
rm -rf sources
mkdir sources
tar -xf sources.tar -C sources
(
  cd sources
  npm ci --no-audit --no-fund
  npm test
)
echo '== All passed'
