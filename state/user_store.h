// All users of a task, in memory.
//
// A look-up is a chain of cache misses: index, user, the lists of its state. For a batch,
// prefetch() the users some 16 ahead, prefetch_user() those 8 ahead and prefetch_state() those 4
// ahead; each needs what the one before has fetched.
//
// Users stay where they are, with the index they got, as long as the store lives: indexes ascend
// from 0 without gaps and are no part of what is stored. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <vector>

#include "segment/event.h"
#include "segment/time.h"
#include "segment/user_state.h"
#include "state/timing_wheel.h"

namespace segmentd {

// A user, and what its task keeps about it. What stands before the state is one line of cache.
class alignas(64) StoredUser {
 public:
  UserIndex index() const { return index_; }
  // Valid as long as the store.
  std::string_view id() const {
    if (id_size_ <= sizeof short_id_) return {short_id_, id_size_};
    const char* long_id = nullptr;
    std::memcpy(&long_id, short_id_, sizeof long_id);
    return {long_id, id_size_};
  }

  bool dirty() const { return dirty_; }
  // The first input offset that is not in the saved image; only while dirty.
  Offset dirty_since() const { return dirty_since_; }
  // Of the saved image; 0 when there is none.
  size_t image_bytes() const { return image_bytes_; }

  // StateHash as last counted in the task's sum.
  uint64_t counted_hash = 0;
  // The task's own mark of what TimingWheel::armed() says, to save the look there.
  Time armed = Time::Max();

 private:
  friend class UserStore;
  static constexpr UserIndex kNone = UINT32_MAX;

  Offset dirty_since_;
  UserIndex index_ = 0;
  // Neighbours in the queue of dirty users.
  UserIndex older_ = kNone;
  UserIndex newer_ = kNone;
  uint32_t dirty_ : 1 = 0;
  // Size of the saved image.
  uint32_t image_bytes_ : 31 = 0;
  uint32_t id_size_ = 0;
  // The ID, or in its first bytes a pointer to one that is longer.
  char short_id_[20] = {};

 public:
  UserState state;
};
static_assert(sizeof(StoredUser) <= 64 + (sizeof(UserState) + 63) / 64 * 64);

// Asks the processor for the user, but not yet for what its state points to: see Prefetch().
[[gnu::always_inline]] inline void PrefetchUser(const StoredUser& user) {
  constexpr size_t kLine = 64;
  const char* at = reinterpret_cast<const char*>(&user);
  for (size_t i = 0; i < sizeof(StoredUser); i += kLine) __builtin_prefetch(at + i);
}

class UserStore {
 public:
  UserStore();
  ~UserStore();
  UserStore(const UserStore&) = delete;
  UserStore& operator=(const UserStore&) = delete;

  // Differs from process to process.
  static uint64_t Hash(std::string_view id);

  [[gnu::always_inline]] void prefetch(uint64_t hash) const {
    __builtin_prefetch(&table_[home(hash)]);
  }
  void prefetch_user(uint64_t hash) const;
  void prefetch_state(uint64_t hash) const;

  // Null when there is none. `hash`: Hash(id).
  StoredUser* find(uint64_t hash, std::string_view id) const;
  StoredUser* find(std::string_view id) const { return find(Hash(id), id); }
  StoredUser& find_or_create(uint64_t hash, std::string_view id);
  StoredUser& find_or_create(std::string_view id) { return find_or_create(Hash(id), id); }

  // `index` < size().
  StoredUser& operator[](UserIndex index) const {
    return chunks_[index / kChunkUsers][index % kChunkUsers];
  }
  size_t size() const { return size_; }

  // The user's state has changed by the record at `offset` and is not saved; an already dirty user
  // stays what it is. Offsets mostly ascend: others cost time.
  void mark_dirty(StoredUser& user, Offset offset);
  // The user's state is written, as an image of so many bytes.
  void mark_saved(StoredUser& user, size_t image_bytes);
  size_t dirty() const { return dirty_; }
  // The user with the lowest dirty_since; null when none is dirty.
  StoredUser* oldest_dirty() const { return at(oldest_); }
  // The next one after it; null at the end.
  StoredUser* newer_dirty(const StoredUser& user) const { return at(user.newer_); }

  // Approximately, of all users: their images as of the last saving stand for their states.
  size_t bytes() const;

 private:
  struct Slot {
    // Upper half of the hash; its highest bits are the place in the table.
    uint32_t tag = 0;
    UserIndex user = StoredUser::kNone;
  };
  static constexpr size_t kChunkBytes = size_t{2} << 20;
  static constexpr UserIndex kChunkUsers = kChunkBytes / sizeof(StoredUser);
  static constexpr size_t kNameChunkBytes = size_t{64} << 10;

  static uint32_t Tag(uint64_t hash) { return static_cast<uint32_t>(hash >> 32); }
  size_t home(uint64_t hash) const { return hash >> (64 - table_bits_); }
  // The first user in the table with the hash's tag: almost certainly the one that has the hash.
  StoredUser* likely(uint64_t hash) const;
  StoredUser* at(UserIndex index) const {
    return index == StoredUser::kNone ? nullptr : &(*this)[index];
  }
  void grow();
  void unlink(StoredUser& user);
  void insert(Slot slot);
  void keep_id(StoredUser& user, std::string_view id);

  // Open addressing, linear probing, at most three quarters full.
  std::vector<Slot> table_;
  int table_bits_;
  size_t size_ = 0;
  std::vector<StoredUser*> chunks_;

  std::vector<std::unique_ptr<char[]>> names_;
  char* next_name_ = nullptr;
  size_t name_room_ = 0;
  size_t name_bytes_ = 0;

  UserIndex oldest_ = StoredUser::kNone;
  UserIndex newest_ = StoredUser::kNone;
  size_t dirty_ = 0;
  size_t image_bytes_ = 0;
};

}  // namespace segmentd
