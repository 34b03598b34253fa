// What can be checked here of what runs elsewhere: the workflows of GitHub and the description for pkgsrc.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { parse } from 'yaml';
import { packageFolder } from '../support/child.js';

const read = (...path: string[]): string => readFileSync(join(packageFolder, ...path), 'utf8');
const { name, version, license, scripts, engines, dependencies } = JSON.parse(read('package.json'));
const installed = JSON.parse(read('node_modules', 'node-addon-api', 'package.json'));

interface Workflow {
  jobs: Record<string, { steps: { run?: string; uses?: string; with?: Record<string, unknown> }[] }>;
}

describe('the workflows', () => {
  for (const file of readdirSync(join(packageFolder, '.github', 'workflows'))) {
    it(`${file} is YAML of jobs, and runs only scripts that exist`, () => {
      const workflow = parse(read('.github', 'workflows', file), { strict: true }) as Workflow;
      const steps = Object.values(workflow.jobs).flatMap((job) => job.steps);
      expect(steps.some(({ uses }) => uses?.startsWith('actions/checkout@'))).to.equal(true);
      const commands = steps.flatMap(({ run, with: inputs }) => [run, inputs?.['run']]).join('\n');
      expect(commands).to.include('npm ci').and.include('npm test');
      for (const [, script] of commands.matchAll(/npm run ([\w:-]+)/g)) expect(scripts).to.have.property(script!);
      for (const [, path] of commands.matchAll(/node (dist\/\S+)/g)) {
        expect(existsSync(join(packageFolder, path!)), path).to.equal(true);
      }
    });
  }
});

describe('the description for pkgsrc', () => {
  const makefile = read('pkgsrc', 'Makefile');

  it('is of this version, licence and Node.js, with the dependency that is tested', () => {
    expect(makefile).to.include(`DISTNAME=\t${name}-${version}\n`);
    expect(license).to.equal('BSD-2-Clause');
    expect(makefile).to.include('LICENSE=\t2-clause-bsd\n');
    expect(makefile).to.include(`nodejs${engines.node}:`);
    expect(Object.keys(dependencies)).to.deep.equal(['node-addon-api']);
    expect(makefile).to.include(`NODE_ADDON_API=\tnode-addon-api-${installed.version}\n`);
  });

  it('installs what exists, and each native module', () => {
    const [, copied] = /pax -rw -pp ([^\\]*)/.exec(makefile)!;
    for (const path of copied!.trim().split(' ')) expect(existsSync(join(packageFolder, path)), path).to.equal(true);
    const targets = [...read('binding.gyp').matchAll(/"target_name": "(\w+)"/g)].map(([, target]) => target);
    expect(makefile).to.include(`.for module in ${targets.join(' ')}\n`);
  });

  it('has lines as pkgsrc wants them', () => {
    expect(makefile).to.match(/^# \$NetBSD\$\n/);
    for (const line of read('pkgsrc', 'DESCR').split('\n')) expect(line.length, line).to.be.at.most(80);
  });
});
