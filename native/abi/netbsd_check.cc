// Compiled on NetBSD only: holds our structs against the headers of the system that we are built on, so that a drift of
// the kernel's interface fails the build in words instead of corrupting memory later. Bit-fields have no offsetof;
// their units are covered by the sizes of the structs around them.
//
// nvmm.h comes first: several of its constants are macros in the system's headers.
#include "nvmm.h"

#include <sys/types.h>

#include <dev/nvmm/nvmm.h>
#include <dev/nvmm/nvmm_ioctl.h>
#include <sys/ioctl.h>

#include <cstddef>

// The headers hold the comm page of their own version; the rows of the other version meet our own struct.
#if NVMM_KERN_VERSION == 1
#define nvmm_comm_page_v1 nvmm_comm_page
using nvmm::abi::nvmm_comm_page_v2;
#elif NVMM_KERN_VERSION == 2
#define nvmm_comm_page_v2 nvmm_comm_page
using nvmm::abi::nvmm_comm_page_v1;
#else
#error "This system's NVMM has a kernel version other than 1 and 2, which nvmm does not support."
#endif

#define NVMM_DRIFT(what) "This system's NVMM headers differ from the interface that nvmm was written for: " what

#define NVMM_ABI_STRUCT(name, size, align)                             \
  static_assert(sizeof(name) == (size), NVMM_DRIFT("size of " #name)); \
  static_assert(alignof(name) == (align), NVMM_DRIFT("alignment of " #name));
#define NVMM_ABI_FIELD(name, field, offset, size)                                              \
  static_assert(offsetof(name, field) == (offset), NVMM_DRIFT("offset of " #name "." #field)); \
  static_assert(sizeof(static_cast<name*>(nullptr)->field) == (size), NVMM_DRIFT("size of " #name "." #field));
#define NVMM_ABI_IOCTL(name, request) static_assert((name) == (request), NVMM_DRIFT("number of " #name));
#include "layout.inc"
