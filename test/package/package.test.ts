// What `npm pack` makes, in a project of somebody else. With NVMM_TEST_INSTALL set (npm run test:package) npm installs it there
// and builds the modules; else it is unpacked, and uses those that are built.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import ts from 'typescript';
import { buildVariant } from '../../scripts/build-variant.js';
import { packageFolder, start } from '../support/child.js';
import { pack, Project, readmeProgram, transpile, type Tarball } from './project.js';

const INSTALL = Boolean(process.env['NVMM_TEST_INSTALL']);
const BUILD_MINUTES = 20;
const ALPHABET = /^ABCDEFGHIJKLMNOPQRSTUVWXYZ \((mock|kernel)\)\n$/;
const bin = (name: string): string => join(packageFolder, 'node_modules', '.bin', name);

describe(`the package${INSTALL ? ', installed' : ''}`, function () {
  this.timeout(180_000);
  let folder: string;
  let tarball: Tarball;
  let project: Project;

  before(async function () {
    this.timeout(BUILD_MINUTES * 60_000);
    folder = mkdtempSync(join(tmpdir(), 'nvmm-pack-'));
    tarball = pack(folder);
    project = new Project();
    if (INSTALL) {
      const { status, stderr } = await project.install(tarball);
      expect(status, stderr).to.equal(0);
    } else {
      project.unpack(tarball);
    }
    project.addNodeTypes();
  });
  after(() => {
    project[Symbol.dispose]();
    rmSync(folder, { recursive: true });
  });

  it('has what a build needs, and what runs', () => {
    expect(tarball.files).to.include.members([
      'package.json',
      'README.md',
      'CHANGELOG.md',
      'LICENSE',
      'binding.gyp',
      'scripts/install.mjs',
      'man/nvmm.1',
      'dist/lib/index.js',
      'dist/lib/index.d.ts',
      'dist/lib/mock.js',
      'dist/lib/cli/main.js',
      'lib/selftest/golden/abi.json',
      'lib/selftest/golden/scenarios/fixtures.json',
    ]);
    // Every source that binding.gyp names, and the headers beside them.
    for (const name of ['abi', 'device', 'addon', 'raw', 'mock', 'mock/driver', 'mock/cpu']) {
      for (const file of readdirSync(join(packageFolder, 'native', name))) {
        const path = `native/${name}/${file}`;
        if (statSync(join(packageFolder, path)).isFile()) expect(tarball.files).to.include(path);
      }
    }
  });

  it('has nothing else', () => {
    const allowed =
      /^(package\.json|README\.md|CHANGELOG\.md|LICENSE|binding\.gyp|scripts\/install\.mjs|(dist\/lib|lib|native\/(abi|device|addon|raw|mock)|docs|man)\/.+)$/;
    expect(tarball.files.filter((path) => !allowed.test(path))).to.deep.equal([]);
    expect(tarball.files.filter((path) => /faults\/|\.test\.|\.tsbuildinfo|\.node$/.test(path))).to.deep.equal([]);
  });

  it('has sources for all its source maps', () => {
    for (const path of tarball.files.filter((file) => file.endsWith('.js.map'))) {
      const installed = join(project.folder, 'node_modules', 'nvmm', path);
      const { sources } = JSON.parse(readFileSync(installed, 'utf8')) as { sources: string[] };
      for (const source of sources)
        expect(existsSync(join(installed, '..', source)), `${source} of ${path}`).to.equal(true);
    }
  });

  it("runs README's program as an ES module", async () => {
    project.write('program.mjs', transpile(readmeProgram(), ts.ModuleKind.ESNext));
    const { status, stdout, stderr } = await project.node(['program.mjs']);
    expect([status, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.match(ALPHABET);
  });

  it("runs README's program as a CommonJS module, with require", async () => {
    const program = transpile(readmeProgram(), ts.ModuleKind.CommonJS);
    expect(program).to.include('require("nvmm")');
    project.write('program.cjs', program);
    const { status, stdout, stderr } = await project.node(['--no-warnings', 'program.cjs']);
    expect([status, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.match(ALPHABET);
  });

  it("compiles README's program in a strict TypeScript project, and runs it", async () => {
    project.write('program.mts', readmeProgram());
    project.write(
      'tsconfig.json',
      JSON.stringify({
        compilerOptions: {
          module: 'nodenext',
          target: 'es2022',
          lib: ['es2022', 'esnext.disposable'],
          strict: true,
          types: ['node'],
          outDir: 'out',
          skipLibCheck: false,
        },
        files: ['program.mts'],
      }),
    );
    const tsc = await start(bin('tsc'), ['-p', project.folder], { cwd: project.folder }).ended;
    expect(tsc.stdout).to.equal('');
    const { status, stdout } = await project.node(['out/program.mjs']);
    expect(status).to.equal(0);
    expect(stdout).to.match(ALPHABET);
  });

  it('has the command', async () => {
    const main = join('node_modules', 'nvmm', 'dist', 'lib', 'cli', 'main.js');
    const { bin: bins } = JSON.parse(
      readFileSync(join(project.folder, 'node_modules', 'nvmm', 'package.json'), 'utf8'),
    ) as { bin: Record<string, string> };
    expect(join('node_modules', 'nvmm', bins['nvmm']!)).to.equal(main);
    expect(readFileSync(join(project.folder, main), 'utf8')).to.match(/^#!\/usr\/bin\/env node\n/);
    const { status, stdout } = INSTALL
      ? await start('npx', ['nvmm', 'identify', '--device', 'mock'], { cwd: project.folder }).ended
      : await project.node([main, 'identify', '--device', 'mock']);
    expect(status).to.equal(0);
    expect(stdout).to.include('Kernel API version 2');
  });

  it('tests itself: the scenarios are in it', async () => {
    const main = join('node_modules', 'nvmm', 'dist', 'lib', 'cli', 'main.js');
    const { status, stdout } = await project.node([main, 'selftest', '--device', 'mock', '--vendor', 'amd']);
    expect(status, stdout).to.equal(0);
  });

  it('is built by cmake-js as well', async function () {
    if (!INSTALL) this.skip();
    this.timeout(BUILD_MINUTES * 60_000);
    const build = buildVariant('package', {}, ['nvmm', 'nvmm_mock']);
    const { status, stdout } = await project.node(['program.mjs'], { NVMM_BUILD_DIR: join(build, 'Release') });
    expect(status).to.equal(0);
    expect(stdout).to.match(ALPHABET);
    expect(existsSync(join(build, 'compile_commands.json'))).to.equal(true);
  });

  it('pleases publint', async () => {
    const { status, stdout } = await start(bin('publint'), ['--strict', tarball.path]).ended;
    expect(status, stdout).to.equal(0);
  });

  it('has types that resolve wherever ES modules do (attw)', async () => {
    const { status, stdout } = await start(bin('attw'), ['--profile', 'esm-only', tarball.path]).ended;
    expect(status, stdout).to.equal(0);
  });
});
