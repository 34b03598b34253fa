// docs/mock.md shows a program that runs.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import ts from 'typescript';
import { node, packageFolder } from '../support/child.js';

describe('docs/mock.md', () => {
  it('has a program that runs', async () => {
    const text = readFileSync(join(packageFolder, 'docs', 'mock.md'), 'utf8');
    const program = /<!-- program -->\n```ts\n([^]*?)```/.exec(text)?.[1] ?? '';
    const { outputText } = ts.transpileModule(program, {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 },
    });
    const file = join(packageFolder, 'dist', `mock-docs-${process.pid}.mjs`);
    writeFileSync(file, outputText);
    try {
      const { status, stdout, stderr } = await node([file]);
      expect(stderr).to.equal('');
      expect(stdout).to.equal('ENOMEM\nINVALID\ntrue true\n{ NONE: 1, INVALID: 1, HALTED: 1 }\n');
      expect(status).to.equal(0);
    } finally {
      rmSync(file);
    }
  });
});
