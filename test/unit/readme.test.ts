import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import ts from 'typescript';
import { node, packageFolder } from '../support/child.js';

const readme = readFileSync(join(packageFolder, 'README.md'), 'utf8');
const program = /<!-- program -->\n```ts\n([^]*?)```/.exec(readme)?.[1] ?? '';

describe('README', () => {
  it('has a complete program of at most 30 lines that runs', async () => {
    expect(program.trimEnd().split('\n').length).to.be.within(10, 30);
    const { outputText } = ts.transpileModule(program, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
    });
    const file = join(packageFolder, 'dist', `readme-${process.pid}.mjs`);
    writeFileSync(file, outputText);
    try {
      const { status, stdout, stderr } = await node([file]);
      expect(stderr).to.equal('');
      expect(status).to.equal(0);
      expect(stdout).to.match(/^ABCDEFGHIJKLMNOPQRSTUVWXYZ \((mock|kernel)\)\n$/);
    } finally {
      rmSync(file);
    }
  });

  it('names only commands that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    for (const [, name] of readme.matchAll(/npm run ([\w:-]+)/g)) expect(scripts).to.have.property(name!);
  });

  it('names only members that exist', () => {
    const sources = ['nvmm', 'machine', 'memory', 'vcpu', 'exit'].map((name) =>
      readFileSync(join(packageFolder, 'lib', `${name}.ts`), 'utf8'),
    );
    for (const [, member] of readme.matchAll(/`(?:await )?(?:nvmm|machine|memory|vcpu)\.(\w+)/g)) {
      expect(
        sources.some((source) => new RegExp(`^  (readonly |get |async )?${member}\\b`, 'm').test(source)),
        member,
      ).to.equal(true);
    }
  });
});
