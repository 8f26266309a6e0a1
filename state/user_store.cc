#include "state/user_store.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"

namespace segmentd {
namespace {

constexpr int kFirstTableBits = 10;
// Tags have no more.
constexpr int kMaxTableBits = 32;

}  // namespace

UserStore::UserStore() : table_(size_t{1} << kFirstTableBits), table_bits_(kFirstTableBits) {}

UserStore::~UserStore() {
  for (size_t i = 0; i < size_; ++i) (*this)[static_cast<UserIndex>(i)].~StoredUser();
  for (StoredUser* chunk : chunks_) std::free(chunk);
}

uint64_t UserStore::Hash(std::string_view id) {
  return absl::HashOf(id);
}

StoredUser* UserStore::likely(uint64_t hash) const {
  const uint32_t tag = Tag(hash);
  for (size_t i = home(hash);; i = (i + 1) & (table_.size() - 1)) {
    const Slot& slot = table_[i];
    if (slot.user == StoredUser::kNone) return nullptr;
    if (slot.tag == tag) return &(*this)[slot.user];
  }
}

void UserStore::prefetch_user(uint64_t hash) const {
  const StoredUser* user = likely(hash);
  if (user == nullptr) return;
  for (size_t line = 0; line < sizeof *user; line += 64) {
    __builtin_prefetch(reinterpret_cast<const char*>(user) + line, /*rw=*/1);
  }
}

void UserStore::prefetch_state(uint64_t hash) const {
  const StoredUser* user = likely(hash);
  if (user == nullptr) return;
  const UserState& state = user->state;
  __builtin_prefetch(user->id().data());
  Prefetch(state);
}

StoredUser* UserStore::find(uint64_t hash, std::string_view id) const {
  const uint32_t tag = Tag(hash);
  for (size_t i = home(hash);; i = (i + 1) & (table_.size() - 1)) {
    const Slot& slot = table_[i];
    if (slot.user == StoredUser::kNone) return nullptr;
    if (slot.tag != tag) continue;
    StoredUser& user = (*this)[slot.user];
    if (user.id() == id) return &user;
  }
}

StoredUser& UserStore::find_or_create(uint64_t hash, std::string_view id) {
  if (StoredUser* known = find(hash, id)) return *known;
  if (size_ + 1 > table_.size() / 4 * 3) grow();
  if (size_ == chunks_.size() * kChunkUsers) {
    void* chunk = std::aligned_alloc(kChunkBytes, kChunkBytes);
    if (chunk == nullptr) throw std::bad_alloc();
    // Users are met at random: without large pages most look-ups miss the TLB, too. The first chunk
    // stays small for small tasks.
    if (!chunks_.empty()) madvise(chunk, kChunkBytes, MADV_HUGEPAGE);
    chunks_.push_back(static_cast<StoredUser*>(chunk));
  }
  const auto index = static_cast<UserIndex>(size_++);
  auto* user = new (&(*this)[index]) StoredUser;
  user->index_ = index;
  keep_id(*user, id);
  insert({Tag(hash), index});
  return *user;
}

void UserStore::keep_id(StoredUser& user, std::string_view id) {
  user.id_size_ = static_cast<uint32_t>(id.size());
  if (id.size() <= sizeof user.short_id_) {
    std::copy(id.begin(), id.end(), user.short_id_);
    return;
  }
  if (id.size() > name_room_) {
    // A long one gets a place of its own; what is left of the last chunk is lost.
    name_room_ = std::max(id.size(), kNameChunkBytes);
    names_.push_back(std::make_unique_for_overwrite<char[]>(name_room_));
    name_bytes_ += name_room_;
    next_name_ = names_.back().get();
  }
  std::copy(id.begin(), id.end(), next_name_);
  std::memcpy(user.short_id_, &next_name_, sizeof next_name_);
  next_name_ += id.size();
  name_room_ -= id.size();
}

void UserStore::insert(Slot slot) {
  size_t i = slot.tag >> (kMaxTableBits - table_bits_);
  while (table_[i].user != StoredUser::kNone) i = (i + 1) & (table_.size() - 1);
  table_[i] = slot;
}

void UserStore::grow() {
  ++table_bits_;
  std::vector<Slot> old = std::exchange(table_, std::vector<Slot>(size_t{1} << table_bits_));
  for (const Slot& slot : old) {
    if (slot.user != StoredUser::kNone) insert(slot);
  }
}

void UserStore::mark_dirty(StoredUser& user, Offset offset) {
  if (user.dirty_) return;
  user.dirty_ = 1;
  user.dirty_since_ = offset;
  ++dirty_;
  UserIndex older = newest_;
  while (older != StoredUser::kNone && (*this)[older].dirty_since_ > offset) {
    older = (*this)[older].older_;
  }
  const UserIndex newer = older == StoredUser::kNone ? oldest_ : (*this)[older].newer_;
  user.older_ = older;
  user.newer_ = newer;
  (older == StoredUser::kNone ? oldest_ : (*this)[older].newer_) = user.index_;
  (newer == StoredUser::kNone ? newest_ : (*this)[newer].older_) = user.index_;
}

void UserStore::mark_saved(StoredUser& user, size_t image_bytes) {
  image_bytes_ += image_bytes - user.image_bytes_;
  user.image_bytes_ = static_cast<uint32_t>(image_bytes);
  if (user.dirty_) unlink(user);
}

void UserStore::unlink(StoredUser& user) {
  (user.older_ == StoredUser::kNone ? oldest_ : (*this)[user.older_].newer_) = user.newer_;
  (user.newer_ == StoredUser::kNone ? newest_ : (*this)[user.newer_].older_) = user.older_;
  user.older_ = user.newer_ = StoredUser::kNone;
  user.dirty_ = 0;
  --dirty_;
}

size_t UserStore::bytes() const {
  return size_ * sizeof(StoredUser) + table_.size() * sizeof(Slot) + name_bytes_ + image_bytes_;
}

}  // namespace segmentd
