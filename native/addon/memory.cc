#include <sys/mman.h>

#include "objects.h"

namespace nvmm {

int Memory::allocate(const std::shared_ptr<Machine>& machine, size_t size, std::shared_ptr<Memory>* memory) {
  // Only reserves the range: the driver puts memory of its own there, which costs nothing until it is touched.
  void* base = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return netbsd::kNOMEM;
  abi::nvmm_ioc_hva_map argument = {machine->id(), reinterpret_cast<uintptr_t>(base), size, 0};
  const int error = machine->exclusively([&] { return machine->ioctl(abi::NVMM_IOC_HVA_MAP, &argument); });
  if (error != 0) {
    munmap(base, size);
    return error;
  }
  static std::atomic<uint32_t> lastId{0};
  memory->reset(new Memory(machine, ++lastId, static_cast<uint8_t*>(base), size));
  return netbsd::kOK;
}

bool Memory::freed() {
  std::lock_guard<std::mutex> guard(lock_);
  return freed_;
}

void Memory::markFreed() {
  std::lock_guard<std::mutex> guard(lock_);
  freed_ = true;
}

bool Memory::letGo() {
  std::lock_guard<std::mutex> guard(lock_);
  return --holds_ == 0 && freed_;
}

int Memory::unmap(Machine* machine) {
  int error = netbsd::kNOENT;
  if (machine != nullptr) {
    abi::nvmm_ioc_hva_unmap argument = {machine->id(), reinterpret_cast<uintptr_t>(base_), size_, 0};
    error = machine->ioctl(abi::NVMM_IOC_HVA_UNMAP, &argument);
  }
  // A machine that is gone has left the range to the process.
  if (error == netbsd::kNOENT || error == netbsd::kBADF)
    munmap(base_, size_);
  else if (error != 0)
    return error;
  base_ = nullptr;
  return netbsd::kOK;
}

Memory::~Memory() {
  if (base_ == nullptr) return;
  const auto machine = machine_.lock();
  const int error = machine ? machine->exclusively([&] { return unmap(machine.get()); }) : unmap(nullptr);
  if (error == netbsd::kOK) return;
  std::lock_guard<std::mutex> guard(machine->lock_);
  machine->orphans_.emplace_back(base_, size_);
}

std::shared_ptr<Memory::Hold> Memory::Hold::of(std::shared_ptr<Memory> memory) {
  {
    std::lock_guard<std::mutex> guard(memory->lock_);
    if (memory->freed_) return nullptr;
    memory->holds_++;
  }
  return std::shared_ptr<Hold>(new Hold(std::move(memory)));
}

int Memory::Hold::free(const std::function<bool()>& detach) {
  if (!holding_) return netbsd::kOK;
  const auto machine = memory_->machine_.lock();
  const auto request = [&] {
    const bool unreachable = detach();
    if (machine) machine->forget(*memory_);
    memory_->markFreed();
    if (!unreachable) return static_cast<int>(netbsd::kOK);
    holding_ = false;
    return memory_->letGo() ? memory_->unmap(machine.get()) : netbsd::kOK;
  };
  return machine ? machine->exclusively(request) : request();
}

// Where the range is still to be unmapped, that is left to the memory's destructor.
Memory::Hold::~Hold() {
  if (holding_) memory_->letGo();
}

}  // namespace nvmm
