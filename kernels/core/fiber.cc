#include "kernels/core/fiber.h"

#include <boost/context/fiber.hpp>
#include <boost/context/protected_fixedsize_stack.hpp>
#include <exception>
#include <utility>

#include "kernels/core/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace triforce {
namespace {

constexpr size_t kStackBytes = size_t{1} << 20;

// Boost's stacks, telling where they lie.
class Stacks {
 public:
  explicit Stacks(boost::context::stack_context& made) : made_(&made), stacks_(kStackBytes) {}
  boost::context::stack_context allocate() { return *made_ = stacks_.allocate(); }
  void deallocate(boost::context::stack_context& stack) noexcept {
#if defined(__SANITIZE_ADDRESS__)
    // The last frames never return, and others may get this memory.
    __asan_unpoison_memory_region(static_cast<std::byte*>(stack.sp) - stack.size, stack.size);
#endif
    stacks_.deallocate(stack);
  }

 private:
  boost::context::stack_context* made_;
  boost::context::protected_fixedsize_stack stacks_;
};

// One side of a change of stacks, as ASan follows it.
class Stack {
 public:
#if defined(__SANITIZE_ADDRESS__)
  void set_place(const void* bottom, size_t bytes) { bottom_ = bottom, bytes_ = bytes; }
  // From `from`, which ends with it if `ends`, to this one.
  void Leave(Stack& from, bool ends) const {
    __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_, bottom_, bytes_);
  }
  // This one goes on; it was left for `from`'s sake.
  void Arrive(Stack& from) { __sanitizer_finish_switch_fiber(fake_, &from.bottom_, &from.bytes_); }

 private:
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* fake_ = nullptr;
#else
  void set_place(const void*, size_t) {}
  void Leave(Stack&, bool) const {}
  void Arrive(Stack&) {}
#endif
};

}  // namespace

struct Fiber::Impl {
  std::function<void(Fiber&)> body;
  boost::context::stack_context place;
  boost::context::fiber inside;   // suspended, or not begun
  boost::context::fiber outside;  // whoever has resumed it
  Stack inside_stack, outside_stack;
  std::exception_ptr error;
  bool begun = false;
  bool ended = false;  // or is to end without having begun

  // Runs the inside until it suspends itself or ends.
  void Enter() {
    inside_stack.Leave(outside_stack, false);
    inside = std::move(inside).resume();
    outside_stack.Arrive(inside_stack);
  }
};

Fiber::Fiber(std::function<void(Fiber&)> body) : impl_(std::make_unique<Impl>()) {
  impl_->body = std::move(body);
  impl_->inside = boost::context::fiber(
      std::allocator_arg, Stacks(impl_->place), [this](boost::context::fiber&& outside) -> boost::context::fiber {
        Impl& i = *impl_;
        i.inside_stack.Arrive(i.outside_stack);
        i.outside = std::move(outside);
        i.begun = true;
        try {
          if (!i.ended) i.body(*this);
        } catch (const boost::context::detail::forced_unwind&) {
          i.outside_stack.Leave(i.inside_stack, /*ends=*/true);  // what is left to unwind is Boost's
          throw;
        } catch (...) {
          i.error = std::current_exception();
        }
        i.ended = true;
        i.outside_stack.Leave(i.inside_stack, /*ends=*/true);
        return std::move(i.outside);
      });
  impl_->inside_stack.set_place(static_cast<std::byte*>(impl_->place.sp) - impl_->place.size, impl_->place.size);
}

Fiber::~Fiber() {
  Impl& i = *impl_;
  if (!i.inside || i.ended) return;
  if (!i.begun) {  // ASan cannot follow the unwinding of a stack that it has not seen begin: runs to its end instead
    i.ended = true;
    i.Enter();
    return;
  }
  i.inside_stack.Leave(i.outside_stack, false);
  i.inside = boost::context::fiber();  // unwinds
  i.outside_stack.Arrive(i.inside_stack);
}

bool Fiber::Resume() {
  Impl& i = *impl_;
  TF_CHECK(!i.ended);
  i.Enter();
  if (i.error) std::rethrow_exception(std::exchange(i.error, nullptr));
  return !i.ended;
}

void Fiber::Suspend() {
  Impl& i = *impl_;
  i.outside_stack.Leave(i.inside_stack, false);
  try {
    i.outside = std::move(i.outside).resume();
  } catch (const boost::context::detail::forced_unwind&) {
    i.inside_stack.Arrive(i.outside_stack);
    throw;
  }
  i.inside_stack.Arrive(i.outside_stack);
}

}  // namespace triforce
