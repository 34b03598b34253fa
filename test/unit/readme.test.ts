import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { packageFolder } from '../support/child.js';
import { codeBlocks, programs } from '../docs/blocks.js';

const readme = readFileSync(join(packageFolder, 'README.md'), 'utf8');

describe('README', () => {
  it('has a complete program of at most 30 lines', () => {
    const [program] = programs(codeBlocks(readme));
    expect(program!.code.trimEnd().split('\n').length).to.be.within(10, 30);
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
