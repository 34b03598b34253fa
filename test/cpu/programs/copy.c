// memcpy in several ways: bytes, words, rep movs of each size, backwards, SSE aligned or not, overlapping; and CRC-32.
#include "run.h"

#define SIZE 4096
static u8 from[SIZE] __attribute__((aligned(16))), to[SIZE] __attribute__((aligned(16)));

static u32 crc(const u8 *bytes, size_t size) {
  u32 value = ~0u;
  while (size--) {
    value ^= *bytes++;
    for (int i = 0; i < 8; i++) value = value >> 1 ^ (value & 1 ? 0xedb88320 : 0);
  }
  return ~value;
}

#define REP(suffix) \
  static void rep_##suffix(u8 *d, const u8 *s, size_t n) { \
    __asm__ volatile("rep movs" #suffix : "+D"(d), "+S"(s), "+c"(n) : : "memory"); \
  }
REP(b)
REP(w)
REP(l)
static void backwards(u8 *d, const u8 *s, size_t n) {
  d += n - 1, s += n - 1;
  __asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
}
static void words(u8 *d, const u8 *s, size_t n) {
  for (; n >= sizeof(size_t); n -= sizeof(size_t), d += sizeof(size_t), s += sizeof(size_t))
    __builtin_memcpy(d, s, sizeof(size_t));
  while (n--) *d++ = *s++;
}
#ifdef __SSE2__
typedef long long v2 __attribute__((vector_size(16), aligned(1), may_alias));
static void vectors(u8 *d, const u8 *s, size_t n) {
  for (; n >= 16; n -= 16, d += 16, s += 16) *(v2 *)d = *(const v2 *)s;
  while (n--) *d++ = *s++;
}
#else
#define vectors words
#endif

static void check(void) {
  u32 value = crc(to, SIZE);
  put(&value, sizeof value);
}

void program(void) {
  u32 seed = 5;
  for (int i = 0; i < SIZE; i++) from[i] = (u8)next(&seed);
  for (int offset = 0; offset < 20; offset += 3) {
    const size_t n = SIZE - 64 - 7 * (size_t)offset;
    memset(to, offset, SIZE);
    rep_b(to + offset, from + 1, n), check();
    rep_w(to + 1, from + offset, n / 2), check();
    rep_l(to + offset, from + 2, n / 4), check();
    backwards(to + 3, from + offset, n), check();
    words(to + offset, from + 5, n), check();
    vectors(to + offset, from + offset / 2, n), check();
    rep_b(to + offset + 1, to + offset, 500), check();  // each byte is the one before it
    memmove(to + 7 + offset, to, 900), check();
  }
}
