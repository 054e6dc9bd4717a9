/* SPDX-License-Identifier: MIT */
/* Intrusive doubly linked list with a count. In this house the state of an object is the list it is
 * on, so a link knows whether it is on one at all:
 *
 *      list.head <-> link <-> link <-> (back to head)          link.next == NULL: on no list
 */
#ifndef EK_BASE_LIST_H
#define EK_BASE_LIST_H

#include "base/must.h"

#include <stdbool.h>
#include <stddef.h>

struct ek_link {
    struct ek_link *next;
    struct ek_link *prev;
};

struct ek_list {
    struct ek_link head;
    size_t count;
};

static inline void ek_list_init(struct ek_list *l)
{
    l->head.next = l->head.prev = &l->head;
    l->count = 0;
}

static inline bool ek_link_linked(const struct ek_link *n)
{
    return n->next != NULL;
}

static inline void ek_list_insert_before(struct ek_list *l, struct ek_link *at, struct ek_link *n)
{
    MUST(!ek_link_linked(n));
    n->next = at;
    n->prev = at->prev;
    at->prev->next = n;
    at->prev = n;
    l->count++;
}

static inline void ek_list_append(struct ek_list *l, struct ek_link *n)
{
    ek_list_insert_before(l, &l->head, n);
}

static inline void ek_list_prepend(struct ek_list *l, struct ek_link *n)
{
    ek_list_insert_before(l, l->head.next, n);
}

static inline void ek_list_remove(struct ek_list *l, struct ek_link *n)
{
    MUST(ek_link_linked(n));
    MUST(l->count > 0);
    n->prev->next = n->next;
    n->next->prev = n->prev;
    n->next = n->prev = NULL;
    l->count--;
}

static inline struct ek_link *ek_list_first(const struct ek_list *l)
{
    return l->count ? l->head.next : NULL;
}

static inline struct ek_link *ek_list_last(const struct ek_list *l)
{
    return l->count ? l->head.prev : NULL;
}

/* The link after n, or NULL at the end. */
static inline struct ek_link *ek_list_next(const struct ek_list *l, const struct ek_link *n)
{
    return n->next == &l->head ? NULL : n->next;
}

/* Walk; `next` is taken before the body runs, so the body may remove `it`. */
#define EK_LIST_EACH(l, it) \
    for (struct ek_link *it = (l)->head.next, *it##_next = it->next; it != &(l)->head; \
         it = it##_next, it##_next = it->next)

#endif
