// A value on its own in memory, for what most of its owners don't have.
#pragma once

#include <memory>
#include <utility>

namespace segmentd {

// Copied and compared by value; without one it is as good as a new T.
template <typename T>
class Boxed {
 public:
  Boxed() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): stands for its value
  Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}
  Boxed(const Boxed& other)
      : value_(other.value_ == nullptr ? nullptr : std::make_unique<T>(*other.value_)) {}
  Boxed(Boxed&&) noexcept = default;
  Boxed& operator=(const Boxed& other) { return *this = Boxed(other); }
  Boxed& operator=(Boxed&&) noexcept = default;
  ~Boxed() = default;

  bool has_value() const { return value_ != nullptr; }
  const T& operator*() const { return has_value() ? *value_ : Nothing(); }
  const T* operator->() const { return &**this; }
  // To be changed; makes one where there is none.
  T& open() {
    if (!has_value()) value_ = std::make_unique<T>();
    return *value_;
  }
  [[gnu::always_inline]] void prefetch() const { __builtin_prefetch(value_.get(), /*rw=*/1); }

  bool operator==(const Boxed& other) const { return **this == *other; }

 private:
  static const T& Nothing() {
    static const T* const kNothing = new T;
    return *kNothing;
  }

  std::unique_ptr<T> value_;
};

}  // namespace segmentd
