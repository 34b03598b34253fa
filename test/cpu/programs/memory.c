// What gcc calls on its own, in plain C.
#include "run.h"

void *memcpy(void *to, const void *from, size_t size) {
  u8 *t = to;
  const u8 *f = from;
  while (size--) *t++ = *f++;
  return to;
}
void *memset(void *to, int value, size_t size) {
  u8 *t = to;
  while (size--) *t++ = (u8)value;
  return to;
}
void *memmove(void *to, const void *from, size_t size) {
  u8 *t = to;
  const u8 *f = from;
  if (t < f) return memcpy(to, from, size);
  while (size--) t[size] = f[size];
  return to;
}
int memcmp(const void *a, const void *b, size_t size) {
  const u8 *x = a, *y = b;
  for (; size--; x++, y++)
    if (*x != *y) return *x - *y;
  return 0;
}
