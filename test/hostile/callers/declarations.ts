// What the package lets its callers do, read from its type declarations.
import ts from 'typescript';
import { join } from 'node:path';
import { packageFolder } from '../../support/child.js';

export interface Parameter {
  readonly name: string;
  readonly type: string;
  /** Of an object: the names of what it may have. */
  readonly properties: readonly string[];
}

export interface Callable {
  /** The class whose instances have it; undefined for a function of the package. */
  readonly owner: string | undefined;
  /** Of symbols: as 'Symbol.dispose'. */
  readonly name: string;
  readonly kind: 'function' | 'method' | 'static' | 'getter' | 'setter';
  readonly parameters: readonly Parameter[];
}

const isInternal = (symbol: ts.Symbol): boolean => symbol.getJsDocTags().some(({ name }) => name === 'internal');

/** `__@dispose@123` is how the compiler names a symbol. */
const plainName = (name: string): string => name.replace(/^__@(\w+)@\d+$/, 'Symbol.$1');

/** All functions, classes' methods, and properties that can be set, of the package's entries. */
export function publicCallables(): Callable[] {
  const entries = ['index', 'mock'].map((name) => join(packageFolder, 'dist', 'lib', `${name}.d.ts`));
  const program = ts.createProgram(entries, {
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2023,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    strict: true,
    skipLibCheck: true,
  });
  const checker = program.getTypeChecker();

  const parameter = (symbol: ts.Symbol): Parameter => {
    const type = checker.getNonNullableType(checker.getTypeOfSymbol(symbol));
    const isObject = (type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection)) !== 0;
    const isPlain = isObject && type.getSymbol()?.valueDeclaration === undefined;
    return {
      name: symbol.name,
      type: checker.typeToString(type),
      properties: isPlain ? type.getProperties().map(({ name }) => name) : [],
    };
  };
  const parametersOf = (type: ts.Type): Parameter[] =>
    (type.getCallSignatures()[0] ?? type.getConstructSignatures()[0])?.parameters.map(parameter) ?? [];

  const membersOf = (owner: ts.Symbol): Callable[] =>
    checker.getPropertiesOfType(checker.getDeclaredTypeOfSymbol(owner)).flatMap((member): Callable[] => {
      // What comes from Error is not ours.
      if (
        member.name === '#private' ||
        isInternal(member) ||
        !member.declarations?.every((node) => node.getSourceFile().fileName.includes('/dist/'))
      ) {
        return [];
      }
      const own = { owner: owner.name, name: plainName(member.name) };
      const type = checker.getTypeOfSymbol(member);
      if (member.flags & ts.SymbolFlags.Method) return [{ ...own, kind: 'method', parameters: parametersOf(type) }];
      const value = { name: 'value', type: checker.typeToString(type), properties: [] };
      const getter: Callable = { ...own, kind: 'getter', parameters: [] };
      return member.flags & ts.SymbolFlags.SetAccessor
        ? [getter, { ...own, kind: 'setter', parameters: [value] }]
        : [getter];
    });
  const staticsOf = (owner: ts.Symbol): Callable[] => {
    const type = checker.getTypeOfSymbol(owner);
    return type
      .getProperties()
      .filter((member) => member.flags & ts.SymbolFlags.Method && !isInternal(member))
      .map((member) => ({
        owner: owner.name,
        name: member.name,
        kind: 'static',
        parameters: parametersOf(checker.getTypeOfSymbol(member)),
      }));
  };

  return entries.flatMap((entry) => {
    const module = checker.getSymbolAtLocation(program.getSourceFile(entry)!)!;
    return checker.getExportsOfModule(module).flatMap((exported): Callable[] => {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported;
      if (symbol.flags & ts.SymbolFlags.Class) return [...membersOf(symbol), ...staticsOf(symbol)];
      if (!(symbol.flags & (ts.SymbolFlags.Function | ts.SymbolFlags.Variable))) return [];
      const type = checker.getTypeOfSymbol(symbol);
      if (type.getCallSignatures().length === 0) return [];
      return [{ owner: undefined, name: symbol.name, kind: 'function', parameters: parametersOf(type) }];
    });
  });
}
