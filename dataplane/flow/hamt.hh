// SPDX-License-Identifier: BSD-3-Clause
// A map from 48-bit hashes to objects with reference counts, several to a hash, each with a rank: a
// hash array mapped trie (Bagwell). Copies share nodes: to copy is to count one reference, and a
// change copies only those nodes on its path that another copy has, so that a million changes to a
// map that nobody else has copy nothing. Readers of a map that does not change need no lock.
#pragma once

#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <utility>

namespace strait::flow {

// T has intrusive_ptr_add_ref and intrusive_ptr_release.
template <typename T>
class hamt {
    struct node;
    enum kind : std::uintptr_t {
        leaf = 0,   // an object
        branch = 1, // a node of entries by six bits of the hash
        bucket = 2, // a node of objects with one hash, by rank
        none = 3,
    };

public:
    using pointer = boost::intrusive_ptr<T>;
    using rank_t = std::uint16_t;

    // An object in the map, where find() shows it.
    class entry {
    public:
        [[nodiscard]] T* get() const noexcept { return reinterpret_cast<T*>(item_ & ~kind_mask); }
        [[nodiscard]] rank_t rank() const noexcept { return static_cast<rank_t>(word_); }
        [[nodiscard]] std::uint64_t hash() const noexcept { return word_ >> rank_bits; }

    private:
        friend class hamt;
        std::uintptr_t item_{none}; // with its kind in the lowest bits
        std::uint64_t word_{0};     // hash and rank; of a branch the highest rank alone
    };

    hamt() noexcept = default;
    hamt(const hamt& other) noexcept : root_{other.root_}, size_{other.size_} { add_ref(root_); }
    hamt(hamt&& other) noexcept
        : root_{std::exchange(other.root_, entry{})}, size_{std::exchange(other.size_, 0)}
    {}
    hamt& operator=(hamt other) noexcept
    {
        std::swap(root_, other.root_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~hamt() { release(root_); }

    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    [[nodiscard]] rank_t highest_rank() const noexcept { return root_.rank(); }

    // All that has this hash, the highest rank first.
    [[nodiscard]] std::span<const entry> find(std::uint64_t hash) const noexcept
    {
        const entry* at = &root_;
        for (unsigned shift = 0; kind_of(*at) == branch; shift += level_bits) {
            at = node_of(*at).child(index_of(hash, shift));
            if (at == nullptr) {
                return {};
            }
        }
        if (kind_of(*at) == none || at->hash() != hash) {
            return {};
        }
        return kind_of(*at) == leaf ? std::span{at, 1} : node_of(*at).entries();
    }

    // Takes the place of the object with this hash and rank for which `same` is true, which is
    // returned.
    template <typename Same>
    pointer put(std::uint64_t hash, rank_t rank, pointer object, const Same& same)
    {
        entry added;
        added.item_ = reinterpret_cast<std::uintptr_t>(object.get());
        added.word_ = hash << rank_bits | rank;
        T* const before = put(root_, 0, added, same);
        object.detach();
        size_ += before == nullptr ? 1 : 0;
        return pointer{before, false};
    }

    // An object that is there, and that no other copy has when this returns: it may be changed.
    template <typename Same>
    T& own(std::uint64_t hash, const Same& same)
    {
        entry* at = &root_;
        for (unsigned shift = 0; kind_of(*at) == branch; shift += level_bits) {
            node& n = own(*at);
            at = n.first() + n.position(index_of(hash, shift));
        }
        if (kind_of(*at) == bucket) {
            node& n = own(*at);
            at = std::find_if(n.first(), n.first() + n.count,
                              [&](const entry& e) { return same(*e.get()); });
        }
        pointer object{at->get(), false};
        if (object->use_count() != 1) {
            object = pointer{new T(*object)};
        }
        at->item_ = reinterpret_cast<std::uintptr_t>(object.get());
        return *object.detach();
    }

    // Takes out the object with this hash and rank for which `same` is true; null if there is none.
    template <typename Same>
    pointer take(std::uint64_t hash, rank_t rank, const Same& same)
    {
        const auto found = find(hash);
        const auto at = std::ranges::find_if(
            found, [&](const entry& e) { return e.rank() == rank && same(*e.get()); });
        if (at == found.end()) {
            return {};
        }
        T* const object = at->get();
        take(root_, 0, hash, object);
        --size_;
        return pointer{object, false};
    }

    template <typename Visit>
    void for_each(const Visit& visit) const
    {
        static_cast<void>(any_of([&](const entry& e) {
            visit(e);
            return false;
        }));
    }
    // Stops at the first entry for which `chosen` is true.
    template <typename Chosen>
    [[nodiscard]] bool any_of(const Chosen& chosen) const
    {
        return any_of(root_, chosen);
    }

private:
    static constexpr unsigned rank_bits = 16;
    static constexpr unsigned level_bits = 6;
    static constexpr std::uintptr_t kind_mask = 3;
    static constexpr std::uint32_t fan_out = 1 << level_bits;

    // Entries follow it.
    struct node : boost::intrusive_ref_counter<node, boost::thread_safe_counter> {
        std::uint32_t count{0};
        std::uint32_t capacity;
        std::uint64_t occupied{0}; // of a branch

        explicit node(std::uint32_t room) noexcept : capacity{room} {}
        node(const node&) = delete;
        node& operator=(const node&) = delete;
        ~node()
        {
            for (const entry& e : entries()) {
                release(e);
            }
        }
        static void operator delete(void* memory) noexcept { ::operator delete(memory); }

        [[nodiscard]] entry* first() noexcept { return reinterpret_cast<entry*>(this + 1); }
        [[nodiscard]] std::span<const entry> entries() const noexcept
        {
            return {reinterpret_cast<const entry*>(this + 1), count};
        }
        [[nodiscard]] std::size_t position(unsigned index) const noexcept
        {
            const std::uint64_t before = (std::uint64_t{1} << index) - 1;
            return static_cast<std::size_t>(std::popcount(occupied & before));
        }
        [[nodiscard]] const entry* child(unsigned index) const noexcept
        {
            return (occupied >> index & 1) != 0 ? entries().data() + position(index) : nullptr;
        }
    };

    [[nodiscard]] static kind kind_of(const entry& e) noexcept
    {
        return static_cast<kind>(e.item_ & kind_mask);
    }
    [[nodiscard]] static node& node_of(const entry& e) noexcept
    {
        return *reinterpret_cast<node*>(e.item_ & ~kind_mask);
    }
    [[nodiscard]] static unsigned index_of(std::uint64_t hash, unsigned shift) noexcept
    {
        return static_cast<unsigned>(hash >> shift) & (fan_out - 1);
    }
    [[nodiscard]] static std::uint64_t bit_of(std::uint64_t hash, unsigned shift) noexcept
    {
        return std::uint64_t{1} << index_of(hash, shift);
    }

    static void add_ref(const entry& e) noexcept
    {
        switch (kind_of(e)) {
        case leaf:
            intrusive_ptr_add_ref(e.get());
            break;
        case branch:
        case bucket:
            intrusive_ptr_add_ref(&node_of(e));
            break;
        case none:
            break;
        }
    }
    static void release(const entry& e) noexcept
    {
        switch (kind_of(e)) {
        case leaf:
            intrusive_ptr_release(e.get());
            break;
        case branch:
        case bucket:
            intrusive_ptr_release(&node_of(e));
            break;
        case none:
            break;
        }
    }

    [[nodiscard]] static boost::intrusive_ptr<node> make_node(std::uint32_t count)
    {
        const std::uint32_t room = count == fan_out ? count : std::bit_ceil(count + 1) - 1;
        void* const memory = ::operator new(sizeof(node) + room * sizeof(entry));
        return boost::intrusive_ptr<node>{new (memory) node{room}};
    }
    static void set_node(entry& e, boost::intrusive_ptr<node> n, kind k) noexcept
    {
        e.item_ = reinterpret_cast<std::uintptr_t>(n.detach()) | k;
    }
    // The entries go from one to the other with their references.
    static void move_entries(node& from, node& to) noexcept
    {
        std::memcpy(static_cast<void*>(to.first()), from.first(), from.count * sizeof(entry));
        to.count = std::exchange(from.count, 0);
        to.occupied = from.occupied;
    }

    // The node of an entry, which nobody else has when this returns.
    static node& own(entry& e)
    {
        node& shared = node_of(e);
        if (shared.use_count() == 1) {
            return shared;
        }
        auto copy = make_node(shared.count);
        for (const entry& child : shared.entries()) {
            add_ref(child);
        }
        std::memcpy(static_cast<void*>(copy->first()), shared.first(),
                    shared.count * sizeof(entry));
        copy->count = shared.count;
        copy->occupied = shared.occupied;
        set_node(e, std::move(copy), kind_of(e));
        intrusive_ptr_release(&shared);
        return node_of(e);
    }
    // Into the node of `parent`, which nobody else has.
    static void insert(entry& parent, std::size_t position, const entry& added)
    {
        node* n = &node_of(parent);
        if (n->count == n->capacity) {
            auto larger = make_node(n->count + 1);
            move_entries(*n, *larger);
            set_node(parent, std::move(larger), kind_of(parent));
            intrusive_ptr_release(n);
            n = &node_of(parent);
        }
        entry* const at = n->first() + position;
        std::memmove(static_cast<void*>(at + 1), at, (n->count - position) * sizeof(entry));
        *at = added;
        ++n->count;
    }
    static void erase(node& n, std::size_t position) noexcept
    {
        --n.count;
        entry* const at = n.first() + position;
        std::memmove(static_cast<void*>(at), at + 1, (n.count - position) * sizeof(entry));
    }
    // The only entry of its node takes its place.
    static void collapse(entry& e) noexcept
    {
        node& n = node_of(e);
        e = *n.first();
        n.count = 0;
        intrusive_ptr_release(&n);
    }
    static void raise(entry& e, rank_t rank) noexcept
    {
        if (rank > e.rank()) {
            e.word_ += static_cast<std::uint64_t>(rank - e.rank());
        }
    }

    // The object whose place was taken, null if none.
    template <typename Same>
    static T* put(entry& at, unsigned shift, const entry& added, const Same& same)
    {
        if (kind_of(at) == none) {
            at = added;
            return nullptr;
        }
        if (kind_of(at) != branch) {
            if (at.hash() == added.hash()) {
                return put_beside(at, added, same);
            }
            split(at, shift);
        }
        node& n = own(at);
        const unsigned index = index_of(added.hash(), shift);
        const std::size_t position = n.position(index);
        T* before = nullptr;
        if (n.child(index) != nullptr) {
            before = put(n.first()[position], shift + level_bits, added, same);
        } else {
            insert(at, position, added);
            node_of(at).occupied |= std::uint64_t{1} << index;
        }
        raise(at, added.rank());
        return before;
    }
    // Objects of one hash get a branch above them.
    static void split(entry& at, unsigned shift)
    {
        auto above = make_node(1);
        *above->first() = at;
        above->count = 1;
        above->occupied = bit_of(at.hash(), shift);
        at.word_ = at.rank();
        set_node(at, std::move(above), branch);
    }
    template <typename Same>
    static T* put_beside(entry& at, const entry& added, const Same& same)
    {
        if (kind_of(at) == leaf) {
            if (at.rank() == added.rank() && same(*at.get())) {
                T* const before = at.get();
                at.item_ = added.item_;
                return before;
            }
            auto both = make_node(2);
            *both->first() = at;
            both->count = 1;
            set_node(at, std::move(both), bucket);
        }
        entry* const first = own(at).first();
        entry* const end = first + node_of(at).count;
        entry* place = std::partition_point(
            first, end, [&](const entry& e) { return e.rank() > added.rank(); });
        for (; place != end && place->rank() == added.rank(); ++place) {
            if (same(*place->get())) {
                T* const before = place->get();
                place->item_ = added.item_;
                return before;
            }
        }
        insert(at, static_cast<std::size_t>(place - first), added);
        raise(at, added.rank());
        return nullptr;
    }

    // Takes out `object`, which is there; its reference goes to the caller.
    static void take(entry& at, unsigned shift, std::uint64_t hash, const T* object)
    {
        if (kind_of(at) == leaf) {
            at = entry{};
        } else if (kind_of(at) == bucket) {
            take_from_bucket(at, object);
        } else {
            take_from_branch(at, shift, hash, object);
        }
    }
    static void take_from_bucket(entry& at, const T* object)
    {
        node& n = own(at);
        const auto is_it = [&](const entry& e) { return e.get() == object; };
        const auto place = std::ranges::find_if(n.entries(), is_it) - n.entries().begin();
        erase(n, static_cast<std::size_t>(place));
        if (n.count == 1) {
            collapse(at);
        } else {
            at.word_ = n.first()->word_;
        }
    }
    static void take_from_branch(entry& at, unsigned shift, std::uint64_t hash, const T* object)
    {
        node& n = own(at);
        const std::size_t position = n.position(index_of(hash, shift));
        entry& child = n.first()[position];
        take(child, shift + level_bits, hash, object);
        if (kind_of(child) == none) {
            erase(n, position);
            n.occupied &= ~bit_of(hash, shift);
        }
        if (n.count == 1 && kind_of(*n.first()) != branch) {
            collapse(at);
            return;
        }
        at.word_ = 0;
        for (const entry& e : n.entries()) {
            raise(at, e.rank());
        }
    }

    template <typename Chosen>
    [[nodiscard]] static bool any_of(const entry& e, const Chosen& chosen)
    {
        if (kind_of(e) == none) {
            return false;
        }
        if (kind_of(e) == leaf) {
            return chosen(e);
        }
        return std::ranges::any_of(node_of(e).entries(),
                                   [&](const entry& child) { return any_of(child, chosen); });
    }

    entry root_;
    std::size_t size_{0};
};

} // namespace strait::flow
