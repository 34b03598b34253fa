// Fails the build where a compiler lays the structs of nvmm.h out otherwise than the kernel does.
#include <cstddef>

#include "nvmm.h"

namespace nvmm::abi {

constexpr uint64_t maskOf(unsigned bit, unsigned width) {
  return (width == 64 ? ~uint64_t{0} : (uint64_t{1} << width) - 1) << bit;
}

#define NVMM_ABI_STRUCT(name, size, align)                                        \
  static_assert(sizeof(name) == (size), "sizeof(" #name ") is not the kernel's"); \
  static_assert(alignof(name) == (align), "alignof(" #name ") is not the kernel's");
#define NVMM_ABI_FIELD(name, field, offset, size)                                              \
  static_assert(offsetof(name, field) == (offset), "offset of " #name "." #field " is wrong"); \
  static_assert(sizeof(static_cast<name*>(nullptr)->field) == (size), "size of " #name "." #field " is wrong");
#define NVMM_ABI_BITS(name, field, mask, unitOffset, unitSize, bit, width) \
  static_assert((mask) == maskOf(bit, width), "mask of " #name "." #field " is wrong");
#define NVMM_ABI_IOCTL(name, request) static_assert((name) == (request), #name " is not the kernel's number");
#include "layout.inc"

}  // namespace nvmm::abi
