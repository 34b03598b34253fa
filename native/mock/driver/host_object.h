// Anonymous memory that can be mapped more than once: what the kernel calls an anonymous UVM object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nvmm::mock {

class HostObject {
 public:
  // Zero-filled, reserved but not committed. Null where the system gives none.
  static std::shared_ptr<HostObject> create(uint64_t size);
  ~HostObject();
  HostObject(const HostObject&) = delete;
  HostObject& operator=(const HostObject&) = delete;

  // The driver's own mapping, readable and writable.
  uint8_t* base() const { return base_; }
  uint64_t size() const { return size_; }

  // What offsets and addresses of mappings are multiples of: the host's page size, 4 KiB or more.
  static uint64_t granularity();

  // A further mapping, that outlives the object: at `at`, where it replaces what is there, or anywhere if null. `prot`
  // is the host's. Null on failure.
  void* map(void* at, uint64_t offset, size_t size, int prot, bool shared) const;

  // No further mappings will be asked for: gives the descriptor back.
  void closeDescriptor();

 private:
  HostObject() = default;

  uint8_t* base_ = nullptr;
  uint64_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace nvmm::mock
