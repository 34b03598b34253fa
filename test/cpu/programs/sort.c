// Quicksort, heapsort and insertion sort of the same numbers, and of 64-bit ones.
#include "run.h"

#define COUNT 3000
static u32 numbers[3][COUNT];
static u64 wide[COUNT];

static void quicksort(u32 *a, int low, int high) {
  while (low < high) {
    u32 pivot = a[(low + high) / 2];
    int i = low, j = high;
    while (i <= j) {
      while (a[i] < pivot) i++;
      while (a[j] > pivot) j--;
      if (i <= j) {
        u32 t = a[i];
        a[i++] = a[j];
        a[j--] = t;
      }
    }
    if (j - low < high - i) {
      quicksort(a, low, j);
      low = i;
    } else {
      quicksort(a, i, high);
      high = j;
    }
  }
}

static void sink(u32 *a, int at, int count) {
  for (int child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && a[child + 1] > a[child]) child++;
    if (a[at] >= a[child]) return;
    u32 t = a[at];
    a[at] = a[child];
    a[child] = t;
  }
}

static void heapsort(u32 *a, int count) {
  for (int i = count / 2; i-- > 0;) sink(a, i, count);
  for (int i = count; i-- > 1;) {
    u32 t = a[0];
    a[0] = a[i];
    a[i] = t;
    sink(a, 0, i);
  }
}

void program(void) {
  u32 seed = 12345;
  for (int i = 0; i < COUNT; i++) {
    u32 n = next(&seed);
    for (int k = 0; k < 3; k++) numbers[k][i] = n;
    wide[i] = (u64)n * next(&seed) + n % 77777;
  }
  quicksort(numbers[0], 0, COUNT - 1);
  heapsort(numbers[1], COUNT);
  for (int i = 1; i < COUNT; i++) {
    u32 n = numbers[2][i];
    u64 w = wide[i];
    int j = i, k = i;
    for (; j > 0 && numbers[2][j - 1] > n; j--) numbers[2][j] = numbers[2][j - 1];
    for (; k > 0 && wide[k - 1] > w; k--) wide[k] = wide[k - 1];
    numbers[2][j] = n;
    wide[k] = w;
  }
  put(numbers, sizeof numbers);
  put(wide, sizeof wide);
}
