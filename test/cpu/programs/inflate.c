// Inflates (RFC 1951) what Node's zlib has deflated: compressed.h is written by the test.
#include "compressed.h"
#include "run.h"

struct Huffman {
  unsigned short count[16], symbol[288];
};

static u32 position, bits, bitCount;
static u8 output[OUTPUT_SIZE];
static u32 size;

static u32 take(u32 count) {
  while (bitCount < count) {
    bits |= (u32)compressed[position++] << bitCount;
    bitCount += 8;
  }
  u32 value = bits & ((1u << count) - 1);
  bits >>= count;
  bitCount -= count;
  return value;
}

static void build(struct Huffman *h, const u8 *lengths, u32 count) {
  unsigned short offsets[16];
  memset(h->count, 0, sizeof h->count);
  for (u32 i = 0; i < count; i++) h->count[lengths[i]]++;
  h->count[0] = 0;
  offsets[1] = 0;
  for (u32 i = 1; i < 15; i++) offsets[i + 1] = (unsigned short)(offsets[i] + h->count[i]);
  for (u32 i = 0; i < count; i++)
    if (lengths[i]) h->symbol[offsets[lengths[i]]++] = (unsigned short)i;
}

static u32 decode(const struct Huffman *h) {
  int code = 0, first = 0, index = 0;
  for (int length = 1; length < 16; length++) {
    code |= (int)take(1);
    int count = h->count[length];
    if (code - count < first) return h->symbol[index + code - first];
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  return 256;
}

static void codes(const struct Huffman *literals, const struct Huffman *distances) {
  for (u32 symbol; (symbol = decode(literals)) != 256;) {
    if (symbol < 256) {
      output[size++] = (u8)symbol;
      continue;
    }
    u32 n = symbol - 257;
    u32 length = n < 8 ? n + 3 : n == 28 ? 258 : ((4 + n % 4) << (n / 4 - 1)) + 3 + take(n / 4 - 1);
    u32 d = decode(distances);
    u32 distance = d < 4 ? d + 1 : ((2 + d % 2) << (d / 2 - 1)) + 1 + take(d / 2 - 1);
    for (; length--; size++) output[size] = output[size - distance];
  }
}

static void dynamic(void) {
  static const u8 order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  struct Huffman literals, distances;
  u8 lengths[320] = {0};
  u32 literalCount = take(5) + 257, distanceCount = take(5) + 1, count = take(4) + 4;
  for (u32 i = 0; i < count; i++) lengths[order[i]] = (u8)take(3);
  build(&literals, lengths, 19);
  for (u32 i = 0; i < literalCount + distanceCount;) {
    u32 symbol = decode(&literals);
    if (symbol < 16) {
      lengths[i++] = (u8)symbol;
      continue;
    }
    u8 value = symbol == 16 ? lengths[i - 1] : 0;
    u32 repeat = symbol == 16 ? 3 + take(2) : symbol == 17 ? 3 + take(3) : 11 + take(7);
    while (repeat--) lengths[i++] = value;
  }
  build(&literals, lengths, literalCount);
  build(&distances, lengths + literalCount, distanceCount);
  codes(&literals, &distances);
}

void program(void) {
  u32 last;
  do {
    last = take(1);
    u32 kind = take(2);
    if (kind == 0) {
      bits = bitCount = 0;
      u32 length = compressed[position] | (u32)compressed[position + 1] << 8;
      position += 4;
      while (length--) output[size++] = compressed[position++];
    } else if (kind == 1) {
      struct Huffman literals, distances;
      u8 lengths[288];
      for (u32 i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
      build(&literals, lengths, 288);
      memset(lengths, 5, 30);
      build(&distances, lengths, 30);
      codes(&literals, &distances);
    } else {
      dynamic();
    }
  } while (!last);
  put(&size, sizeof size);
  put(output, size);
}
