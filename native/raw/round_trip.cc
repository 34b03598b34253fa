#include "round_trip.h"

#include <condition_variable>
#include <mutex>
#include <thread>

namespace nvmm {

namespace {

// What an asynchronous run costs at least: a thread is woken through a condition variable, and calls back.
class Bare {
 public:
  Bare(Napi::Env env, const Napi::Function& back)
      : back_(Napi::ThreadSafeFunction::New(env, back, "bare", 0, 1)), thread_([this] { loop(); }) {}
  ~Bare() {
    set(&quit_);
    thread_.join();
    back_.Release();
  }
  void go() { set(&asked_); }

 private:
  void set(bool* flag) {
    {
      std::lock_guard<std::mutex> guard(lock_);
      *flag = true;
    }
    wake_.notify_one();
  }
  void loop() {
    std::unique_lock<std::mutex> guard(lock_);
    for (;;) {
      wake_.wait(guard, [this] { return asked_ || quit_; });
      if (quit_) return;
      asked_ = false;
      guard.unlock();
      back_.NonBlockingCall();
      guard.lock();
    }
  }

  Napi::ThreadSafeFunction back_;
  std::mutex lock_;
  std::condition_variable wake_;
  bool asked_ = false;
  bool quit_ = false;
  std::thread thread_;
};

class PoolWork : public Napi::AsyncWorker {
 public:
  explicit PoolWork(const Napi::Function& back) : Napi::AsyncWorker(back) {}
  void Execute() override {}
};

}  // namespace

Napi::Value roundTrip(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto bare = std::make_shared<std::unique_ptr<Bare>>(new Bare(env, info[0].As<Napi::Function>()));
  auto object = Napi::Object::New(env);
  object.Set("thread", Napi::Function::New(env, [bare](const Napi::CallbackInfo&) { (*bare)->go(); }));
  object.Set("pool", Napi::Function::New(env, [](const Napi::CallbackInfo& call) {
               (new PoolWork(call[0].As<Napi::Function>()))->Queue();
             }));
  object.Set("close", Napi::Function::New(env, [bare](const Napi::CallbackInfo&) { bare->reset(); }));
  return object;
}

}  // namespace nvmm
