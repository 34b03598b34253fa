// The code blocks of a Markdown file, and what stands before them in a comment:
//   <!-- continues -->   the block goes on where the TypeScript before it ended: both are one program
//   <!-- output -->      what the program before it prints
//   <!-- from FILE -->   an excerpt of a file, which must have these lines

export interface Block {
  readonly language: string;
  readonly code: string;
  /** Of its first line in the file. */
  readonly line: number;
  /** 'continues', 'output', 'from FILE', or nothing. */
  readonly marker: string;
}

export function codeBlocks(markdown: string): Block[] {
  return [...markdown.matchAll(/(?:<!-- (continues|output|from \S+|program) -->\n+)?^```(\w*)\n([^]*?)^```$/gm)].map(
    ({ 0: whole, 1: marker = '', 2: language = '', 3: code = '', index }) => ({
      language,
      code,
      line: markdown.slice(0, index + whole.indexOf('```')).split('\n').length + 1,
      marker: marker === 'program' ? '' : marker,
    }),
  );
}

export interface Program {
  readonly line: number;
  code: string;
  /** What it prints; undefined if the file does not say. */
  output: string | undefined;
}

/** The TypeScript of a file, block by block or several as one. */
export function programs(blocks: readonly Block[]): Program[] {
  const all: Program[] = [];
  for (const { language, code, line, marker } of blocks) {
    const last = all.at(-1);
    if (marker.startsWith('from ')) continue;
    if (marker === 'output' && last !== undefined) last.output = (last.output ?? '') + code;
    else if (marker === 'continues' && last !== undefined) last.code += code;
    else if (['ts', 'typescript'].includes(language)) all.push({ line, code, output: undefined });
  }
  return all;
}
